"""What a run is: schema, identity, composition by Hydra, the catalogue of YAML heads. No torch."""
