"""The run's identity, and the checks that name a key."""

import re
from dataclasses import asdict, dataclass, field

import pytest

from bn_repro.config.compose import compose
from bn_repro.config.fields import settings
from bn_repro.config.identity import differences, run_id, settings_of
from bn_repro.config.network import MODULES, MLPConfig
from bn_repro.config.schema import KINDS, SETTINGS, Composed, Config, OptimizerConfig


def test_a_default_spelled_out_or_left_out_is_the_same_run():
    plain = compose(["experiment=mnist/bn"])
    spelled = compose(["experiment=mnist/bn", "optimizer.lr=0.1", "model.norm_eps=1e-5"])
    assert run_id(plain) == run_id(spelled)


def test_an_integer_and_its_float_are_the_same_run():
    assert run_id(compose(["experiment=mnist/bn", "optimizer.lr=1"])) == run_id(
        compose(["experiment=mnist/bn", "optimizer.lr=1.0"])
    )


@pytest.mark.parametrize(
    "word",
    [
        "seed=3",
        "runs=elsewhere",
        "device=cpu",
        "data.root=/data",
        "data.workers=0",
        "wandb=offline",
        "wandb.dir=/tmp",
        "force=true",
        "threads=2",
        "train.log_every=7",
        "train.trace_every=7",
        "train.checkpoint_every=7",
        "data.eval_limit=7",
    ],
)
def test_seed_paths_device_and_logging_are_no_part_of_identity(word):
    base = compose(["experiment=mnist/bn"])
    assert run_id(compose(["experiment=mnist/bn", word])) == run_id(base)


@pytest.mark.parametrize(
    "word",
    [
        "optimizer.lr=0.2",
        "model.norm=none",
        "train.steps=7",
        "train.precision=bfloat16",
        "data.held_out=10000",
        "optimizer.delay=1",
        "model.init_std=0.2",
    ],
)
def test_what_changes_the_numbers_changes_the_identity(word):
    base = compose(["experiment=mnist/bn"])
    assert run_id(compose(["experiment=mnist/bn", word])) != run_id(base)


def test_ranks_are_part_of_identity():
    config = Config()
    assert run_id(config) == run_id(config, world=1) != run_id(config, world=2)


def test_a_new_key_renames_no_run():
    @dataclass
    class Tomorrow(Config):
        sharpness: float = 0.0
        extra: OptimizerConfig = field(default_factory=OptimizerConfig)

    today = Config(model=MLPConfig(norm="batch"))
    assert run_id(Tomorrow(model=MLPConfig(norm="batch"))) == run_id(today)


def test_differences_names_dotted_keys():
    config = Config(seed=4, model=MLPConfig(norm="batch"), optimizer=OptimizerConfig(lr=1.0))
    assert differences(config) == {"model.norm": "batch", "optimizer.lr": 1.0}


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("optimizer.lr=-1", "optimizer.lr"),
        ("optimizer.lr=0", "optimizer.lr"),
        ("optimizer.lr=nan", "optimizer.lr"),
        ("optimizer.momentum=1", "optimizer.momentum"),
        ("optimizer.delay=-1", "optimizer.delay"),
        ("data.eval_limit=0", "data.eval_limit"),
        ("model.init_std=-0.1", "model.init_std"),
        ("model.norm_eps=-1e-9", "model.norm_eps"),
        ("model.norm_eps=inf", "model.norm_eps"),
        ("model.norm_momentum=2", "model.norm_momentum"),
        ("model.hidden=[100,0]", "model.hidden"),
        (f"model.hidden=[100,{10**22}]", "model.hidden"),
        ("model.dropout=1", "model.dropout"),
        ("model.nonlinearity=softplus", "model.nonlinearity"),
        ("train.steps=0", "train.steps"),
        ("train.batch_size=-60", "train.batch_size"),
        ("train.precision=float8", "train.precision"),
        ("data.shuffling=none", "data.shuffling"),
        ("data.held_out=-1", "data.held_out"),
        ("device=tpu", "device"),
        ("seed=-1", "seed"),
        ("optimizer.weight_decay=inf", "optimizer.weight_decay"),
        ("optimizer.weight_decay=-1", "optimizer.weight_decay"),
        ("optimizer.lr=1e39", "optimizer.lr"),
        ("model.norm_eps=1e-300", "model.norm_eps"),
        ("model.depth=0", "model.depth"),
        ("train.final_splits=[test,test]", "train.final_splits"),
        ("evaluation.crops=10", "evaluation.crops"),
        ("evaluation.statistics=batch", "evaluation.statistics"),
        ("evaluation.world=0", "evaluation.world"),
        ("evaluation.seeds=[]", "evaluation.seeds"),
        ("evaluation.seeds=[0,0]", "evaluation.seeds"),
        (f"evaluation.seeds=[{2**63}]", "evaluation.seeds"),
        ("threads=1000000", "threads"),
        ("data.workers=100000", "data.workers"),
        ("wandb.mode=sometimes", "wandb.mode"),
    ],
)
def test_a_bad_value_is_a_value_error_that_begins_with_its_key(word, key):
    with pytest.raises(ValueError, match=rf"^{key}: "):
        compose(["experiment=mnist/bn", word])


def test_a_number_beyond_all_meaning_is_refused():
    counts = [
        k for k, s in SETTINGS.items() if str(s.field.type).startswith(("int", "<class 'int'"))
    ]
    assert {"train.steps", "train.batch_size", "data.train_images", "study.jobs"} <= set(counts)
    for key in counts:
        family = "imagenet/bn_x5" if key.startswith("data.") else "mnist/bn"
        data = ["data=mnist"] if key in ("data.held_out", "data.limit") else ["data=synthetic"]
        with pytest.raises(ValueError, match=f"^{key}: "):
            compose([f"experiment={family}", *data, f"{key}={10**20}"])


def test_a_key_of_another_model_is_refused_where_it_is_typed_and_dropped_where_a_file_has_it():
    smoke = compose(["experiment=imagenet/bn_x5", "scale=smoke", "data=tiny_imagenet"])
    assert not hasattr(smoke.data, "train_images")  # the scale has it, for the synthetic set
    for typed in ("data.train_images=8", "+data={train_images: 8}"):
        with pytest.raises(ValueError, match=r"^data.train_images: tiny_imagenet has no such key"):
            compose(["experiment=imagenet/bn_x5", "scale=smoke", "data=tiny_imagenet", typed])
    with pytest.raises(ValueError, match=r"^model.width: mlp has no such key; it has name, "):
        compose(["experiment=mnist/bn", "model.width=1.0"])


def test_the_classes_of_the_synthetic_set_are_no_others():
    words = ["experiment=imagenet/bn_x5", "scale=smoke"]
    assert compose(words).data == compose([*words, "data.classes=8"]).data
    tiny = compose([*words, "data=tiny_imagenet"])
    assert getattr(tiny.data, "classes", 8) is None
    assert run_id(tiny) == "22d5313f"
    drawn = compose(["experiment=imagenet/bn_x5", "data=synthetic"])
    assert getattr(drawn.data, "classes", None) == 10
    assert "data.classes" not in differences(drawn)


def test_the_order_in_which_classes_are_named_changes_nothing():
    words = ["experiment=imagenet/bn_x5", "data.classes=[n2,n1]"]
    named = compose(words)
    assert run_id(named) == run_id(compose([words[0], "data.classes=[n1,n2]"]))
    assert run_id(named) != run_id(compose([words[0], "data.classes=2"]))


@pytest.mark.parametrize("value", ["0", "1", "1000000", "true", "abc", "[n1]", "[n1,n1]", "2.5"])
def test_a_single_class_is_no_question(value):
    words = ["experiment=imagenet/bn_x5", f"data.classes={value}"]
    with pytest.raises(ValueError, match=r"^data.classes: .* is not 2 or more, or a list of 2 or"):
        compose(words)
    with pytest.raises(ValueError, match=r"^data.classes: .* is not a whole number from 2 to 100,"):
        compose([*words, "data=synthetic"])


def test_of_a_study_only_its_runs_judge_what_was_typed():
    assert compose(["study=fig3", "model.width=0.25"]).model == MLPConfig()


def test_an_older_run_has_the_identity_that_it_would_have_today():
    now = compose(["experiment=mnist/bn", "model.init_std=0.2"])
    own = asdict(now)
    then = own | {section: asdict(getattr(Composed(), section)) | own[section] for section in KINDS}
    assert {"width", "lrn"} <= then["model"].keys()
    identity = {s.key: s.value for s in settings(now) if s.identity}
    assert settings_of(then) == settings_of(own) == identity
    own["train"]["of_tomorrow"] = 3
    assert settings_of(own) == identity | {"train.of_tomorrow": 3}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["imagenet/bn_x5", "model.init_std=0.01"],
            "model.init_std: has no effect where model.init is",
        ),
        (
            ["mnist/baseline", "model.norm_eps=0.1"],
            "model.norm_eps: has no effect where model.norm",
        ),
        (
            ["mnist/bn", "model.norm=weight", "model.norm_eps=0.1"],
            "model.norm_eps: has no effect where model.norm is 'weight'",
        ),
        (
            ["mnist/baseline", "model.norm_at=after"],
            "model.norm_at: has no effect where model.norm is 'none'",
        ),
        (
            ["imagenet/bn_x5", "model.norm_at=input"],
            "model.norm_at: 'input' is for mlp; use 'before' or 'after'",
        ),
        (
            ["mnist/bn", "model.norm=layer", "model.norm_momentum=0.2"],
            "model.norm_momentum: has no effect where model.norm is 'layer'",
        ),
        (
            ["imagenet/bn_x5", "model.norm=layer", "model.init_bias=0.2"],
            "model.init_bias: has no effect where model.norm is 'layer'",
        ),
        (
            ["imagenet/inception", "model.per_activation_modules=1"],
            "model.per_activation_modules: ",
        ),
        (
            ["imagenet/bn_x5", "model.modules=[3b,5b]", "model.auxiliary=true"],
            "model.auxiliary: it stands on 4d",
        ),
        (
            ["imagenet/bn_x5", "model.modules=[3b,5b]", "model.per_activation_modules=3"],
            "model.per_activation_modules: 3 asked for, model.modules has 2",
        ),
        (
            ["imagenet/bn_x5", "model.modules=[3b,5b]", "model.pool_projection=128"],
            "model.pool_projection: it is of 4c and 4d",
        ),
        (["imagenet/bn_x5", "model.modules=[5b,3b]"], "model.modules: ['5b', '3b'] is not a list"),
        (["imagenet/bn_x5", "model.modules=[]"], "model.modules: [] is not a list"),
        (["mnist/bn", "model.init=he"], "model.init: 'he' is not for mlp"),
        (["mnist/bn", "model.name=transformer"], "model.name: 'transformer' is not one of mlp"),
    ],
)
def test_a_setting_without_effect_is_refused(words, said):
    with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
        compose([f"experiment={words[0]}", *words[1:]])


def test_all_modules_spelled_out_are_the_same_run():
    plain = compose(["experiment=imagenet/bn_x5"])
    every = compose(["experiment=imagenet/bn_x5", f"model.modules=[{','.join(MODULES)}]"])
    four = compose(["experiment=imagenet/bn_x5", "model.modules=[3b,4a,4e,5b]"])
    assert run_id(plain) == run_id(every) != run_id(four)


def test_every_key_has_its_help():
    for key, setting in SETTINGS.items():
        assert setting.field.metadata["help"], key
