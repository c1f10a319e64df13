"""All parameters together, and the rules that hold between sections."""

from typing import Annotated

from pydantic import Field, model_validator

from memsifter.params.base import ORDERS, Name, Section
from memsifter.params.data import DataParams, ModelParams
from memsifter.params.llm import ChatParams, EvaluateParams, RankParams
from memsifter.params.machine import ClusterParams, TrackingParams
from memsifter.params.readers import AnyDatasetParams
from memsifter.params.retrieval import EmbedParams, RetrievalParams
from memsifter.params.training import CollectParams, MergeParams, RewardParams, RoundParams, TrainParams


class MatrixParams(Section):
    """What the stages run for: `rank`, `chat` and `evaluate` for every ranker and dataset."""

    rankers: Annotated[tuple[Name, ...], Field(min_length=1)] = ("base",)
    """Names of `models` and of `rounds`."""
    datasets: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Names of `datasets`. Composed: all of them."""


class Params(Section):
    """All of `params.yaml`."""

    profile: Annotated[str, Field(min_length=1)]
    """The profile of `configs/profile/` that the other values come from; recorded with every run."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 7
    """Where all random numbers of the pipeline start: sampling, training order, bootstrap. The built-in dataset has a
    seed of its own."""
    cluster: ClusterParams
    """Where Ray runs."""
    models: dict[Name, ModelParams]
    """The models by name: the embedder, the rankers that no round trains, the working LLM."""
    data: DataParams
    """How datasets are read."""
    datasets: Annotated[dict[Name, AnyDatasetParams], Field(min_length=1)]
    """The datasets by name."""
    embed: EmbedParams
    """The embedder."""
    retrieval: RetrievalParams
    """The coarse filter."""
    rank: RankParams
    """The ranker."""
    chat: ChatParams
    """The working LLM."""
    reward: RewardParams
    """The reward of a ranking in training."""
    rounds: dict[Name, RoundParams] = Field(default={})
    """Training rounds by name, in order; each makes a ranker of its name. Empty: no training."""
    train: TrainParams
    """How every round trains."""
    collect: CollectParams
    """Which checkpoints of a round become models."""
    merge: MergeParams
    """How the collected checkpoints become one ranker."""
    evaluate: EvaluateParams
    """Metrics."""
    matrix: MatrixParams
    """The rankers and datasets that the stages run for."""
    tracking: TrackingParams
    """MLflow."""

    @model_validator(mode="after")
    def _local_sources_are_watched(self) -> "Params":
        sources: dict[str, tuple[str, str | None]] = {}
        for name, dataset in self.datasets.items():
            sources[f"datasets.{name}"] = (dataset.watch, getattr(dataset, "path", None))
        for name, model in self.models.items():
            local = model.ref.removeprefix("path:")
            if model.adapter is not None and local != model.ref:
                raise ValueError(f"models.{name} has a path and an adapter, and DVC can watch one: merge them first")
            sources[f"models.{name}"] = (model.watch, model.adapter if local == model.ref else local)
        for key, (watch, path) in sources.items():
            if path is not None and watch != path:
                raise ValueError(f"{key}.watch must be the path, {path}, so that DVC sees when it changes")
            if not watch:
                raise ValueError(f"{key}.watch is missing: name a file whose change makes DVC run the stage again")
        return self

    @model_validator(mode="after")
    def _references_exist(self) -> "Params":
        used = [("embed.model", self.embed.model), ("chat.local_model", self.chat.local_model)]
        used += [("matrix.rankers", ranker) for ranker in self.matrix.rankers if ranker not in self.rounds]
        reading = self.retrieval.likelihood
        if reading.datasets and reading.model not in reading.fits:  # a round's model would depend on its own score
            used.append(("retrieval.likelihood.model", reading.model))
        used += [(f"retrieval.likelihood.fits.{name}.model", fit.model) for name, fit in reading.fits.items()]
        for key, name in used:
            if name not in self.models:
                raise ValueError(f"{key} names the model {name!r}; models has {', '.join(self.models)}")
        if unknown := sorted(set(self.matrix.datasets) - set(self.datasets)):
            raise ValueError(f"matrix.datasets names {', '.join(unknown)}; datasets has {', '.join(self.datasets)}")
        if unranked := sorted(set(self.rank.train_rankers) - set(self.matrix.rankers)):
            raise ValueError(
                f"rank.train_rankers names {', '.join(unranked)}; matrix.rankers has {', '.join(self.matrix.rankers)}"
            )
        for key, splits in (("rank.splits", self.rank.splits), ("chat.splits", self.chat.splits)):
            if self.evaluate.split not in splits:
                raise ValueError(f"evaluate.split is {self.evaluate.split}, which {key} does not hold")
        if beyond := sorted(set(self.chat.splits) - set(self.rank.splits)):
            raise ValueError(f"chat.splits names {', '.join(beyond)}, which rank.splits does not hold")
        scored = {"likelihood": reading.datasets, "fit": self.retrieval.fit.datasets}
        scored |= {f"likelihood.fits.{name}": fit.datasets for name, fit in reading.fits.items()}
        for section, names in scored.items():
            if unscored := sorted(set(names) - set(self.matrix.datasets)):
                raise ValueError(
                    f"retrieval.{section}.datasets names {', '.join(unscored)}; matrix.datasets has "
                    f"{', '.join(self.matrix.datasets)}"
                )
        if taken := sorted(set(reading.fits) & (set(self.models) | set(self.rounds))):
            raise ValueError(f"retrieval.likelihood.fits.{taken[0]}: a model or round has this name; choose another")
        # An endpoint has limits of its own, so only a local working LLM is checked.
        readers: dict[str, RankParams | ChatParams] = {"rank": self.rank}
        if self.chat.base_url == "local":
            readers["chat"] = self.chat
        for section, reader in readers.items():
            if reader.context_tokens + reader.max_tokens > reader.engine.max_model_len:
                raise ValueError(
                    f"{section}.context_tokens + {section}.max_tokens is "
                    f"{reader.context_tokens + reader.max_tokens}, more than "
                    f"{section}.engine.max_model_len ({reader.engine.max_model_len})"
                )
        return self

    @model_validator(mode="after")
    def _likelihoods_are_there_where_they_order(self) -> "Params":
        unread = sorted(set(self.matrix.datasets) - set(self.retrieval.likelihood.datasets))
        if self.retrieval.fusion == "fitted_likelihood" and unread:
            raise ValueError(
                f"retrieval.fusion is fitted_likelihood, but retrieval.likelihood.datasets does not name "
                f"{', '.join(unread)} of matrix.datasets; name them there, or set retrieval.fusion=fitted"
            )
        if "fitted_likelihood" in self.matrix.rankers and unread:
            raise ValueError(
                f"matrix.rankers names fitted_likelihood, but retrieval.likelihood.datasets does not name "
                f"{', '.join(unread)} of matrix.datasets"
            )
        reading = self.retrieval.likelihood
        if bool(reading.datasets) != (reading.watch == "data/likelihoods"):
            raise ValueError(
                "retrieval.likelihood.watch must be data/likelihoods where datasets are read, and another file where "
                "none is; compose with likelihood=zero_shot or likelihood=none"
            )
        return self

    @model_validator(mode="after")
    def _orders_are_no_models(self) -> "Params":
        for name, model in self.models.items():
            if name in ORDERS and model.order != name:
                raise ValueError(
                    f"models.{name}: the name of a coarse order; set its ref to order:{name}, or rename it"
                )
        if misnamed := sorted(set(self.rounds) & set(ORDERS)):
            raise ValueError(f"rounds.{misnamed[0]}: the name of a coarse order; choose another name")
        used = {"embed.model": self.embed.model, "chat.local_model": self.chat.local_model}
        used |= {f"rounds.{name}.start_from": item.start_from for name, item in self.rounds.items()}
        fits = self.retrieval.likelihood.fits
        used |= {f"retrieval.likelihood.fits.{name}.model": fit.model for name, fit in fits.items()}
        if self.retrieval.likelihood.datasets:
            used["retrieval.likelihood.model"] = self.retrieval.likelihood.model
        for key, name in used.items():
            if name in self.models and self.models[name].order is not None:
                raise ValueError(f"{key} is {name}, which is a coarse order ({self.models[name].ref}) and no model")
        return self

    @model_validator(mode="after")
    def _scores_can_be_compared(self) -> "Params":
        if self.chat.min_score is not None and (self.rank.scores, self.rank.fusion) == ("written", "written"):
            raise ValueError(
                "chat.min_score needs probabilities, which a written order has not; set rank.scores: first_number, or "
                "rank.fusion: fitted or a number"
            )
        return self

    @model_validator(mode="after")
    def _scores_have_their_embeddings(self) -> "Params":
        scores, embed = self.retrieval.scores, self.embed
        uses_m3 = self.retrieval.lexical == "m3" or any(name.startswith("m3_") for name in scores)
        if uses_m3 and embed.model_class != "encoder-only-m3":
            raise ValueError("retrieval uses m3 scores, which need embed.model_class: encoder-only-m3")
        if "m3_multi_vector" in scores and not embed.token_vectors:
            raise ValueError("retrieval.scores names m3_multi_vector, which needs embed.token_vectors: true")
        if embed.token_vectors and embed.model_class != "encoder-only-m3":
            raise ValueError("embed.token_vectors needs embed.model_class: encoder-only-m3")
        for unit in ("turn", "window"):
            names = [name for name in scores if name.startswith(f"dense_{unit}_")]
            if names and unit not in embed.units:
                raise ValueError(f"retrieval.scores names {names[0]}, which needs {unit} in embed.units")
        return self

    @model_validator(mode="after")
    def _rounds_fit(self) -> "Params":
        startable = dict.fromkeys(self.models)
        for name, training_round in self.rounds.items():
            if name in startable:
                raise ValueError(f"rounds.{name}: a model has this name; choose another")
            if training_round.start_from not in startable:
                raise ValueError(
                    f"rounds.{name}.start_from is {training_round.start_from}; models and earlier rounds are "
                    f"{', '.join(startable)}"
                )
            if training_round.start_from not in self.matrix.rankers:
                raise ValueError(
                    f"rounds.{name}.start_from is {training_round.start_from}, which matrix.rankers does not hold"
                )
            if unknown := sorted(set(training_round.recipe) - set(self.matrix.datasets)):
                raise ValueError(
                    f"rounds.{name}.recipe names {', '.join(unknown)}; matrix.datasets has "
                    f"{', '.join(self.matrix.datasets)}. Name other datasets, or compose with rounds=none"
                )
            startable[name] = None
        for name in self.rounds:
            self._check_tests(name)
        return self

    def _check_tests(self, name: str) -> None:
        """A round tests on no question that an earlier one, whose weights it starts from, may have trained on.

        Test questions are the first in an order that all rounds share; further ones may be train questions elsewhere.
        """
        start = self.rounds[name].start_from
        while start in self.rounds:
            for dataset, draw in self.rounds[name].recipe.items():
                before = self.rounds[start].recipe.get(dataset)
                tested = before.test if before and before.test_split == draw.test_split else 0
                if before and draw.test_split == "train" and draw.test > tested:
                    raise ValueError(
                        f"rounds.{name}.recipe.{dataset}.test is {draw.test}, but {start}, which {name} starts from, "
                        f"keeps {tested} train questions for tests and may have been trained on others; ask for "
                        f"{tested} at most, or set test_split: test"
                    )
            start = self.rounds[start].start_from

    @model_validator(mode="after")
    def _rounds_can_train(self) -> "Params":
        for name, training_round in self.rounds.items():
            rows = sum(draw.train for draw in training_round.recipe.values())
            warm = training_round.warm_start
            if rows < self.train.batch_size:
                raise ValueError(f"rounds.{name}.recipe draws {rows} train questions, fewer than train.batch_size")
            if warm and (
                self.train.gpus_per_node % self.train.ulysses
                or warm.batch_size > rows
                or warm.batch_size % (self.train.gpus_per_node // self.train.ulysses)
            ):
                raise ValueError(
                    f"rounds.{name}.warm_start.batch_size is {warm.batch_size}; it must be a multiple of "
                    f"train.gpus_per_node / train.ulysses and at most the round's {rows} train questions"
                )
        self._check_collected_steps()
        return self

    def _check_collected_steps(self) -> None:
        """There must be as many checkpoints as asked for; listed ones must not be removed in favour of better ones."""
        train, steps, best = self.train, self.collect.steps or (), self.collect.best or 0
        saved = -(-train.steps // train.save_every)  # the last step is saved, too, and competes with the others
        if best > train.keep_best:
            raise ValueError(f"collect.best is {best}, more than train.keep_best keeps")
        if self.rounds and best > saved:
            raise ValueError(
                f"collect.best is {best}, but train.steps ({train.steps}) and train.save_every ({train.save_every}) "
                f"make {saved} checkpoint(s)"
            )
        earlier = [step for step in steps if step < train.steps and step % train.save_every == 0]
        if unsaved := sorted(set(steps) - {*earlier, train.steps}):
            raise ValueError(
                f"collect.steps names {', '.join(map(str, unsaved))}, which train.save_every "
                f"({train.save_every}) and train.steps ({train.steps}) do not save"
            )
        if earlier and train.keep_best < saved:
            raise ValueError(
                f"collect.steps names steps before the last one, which may be removed: set train.keep_best to "
                f"{saved}, or use collect.best"
            )

    @model_validator(mode="after")
    def _weights_match_checkpoints(self) -> "Params":
        collected = len(self.collect.steps or ()) or self.collect.best or 1
        if self.rounds and self.merge.weights is not None and len(self.merge.weights) != collected:
            raise ValueError(
                f"merge.weights has {len(self.merge.weights)} numbers, but collect takes {collected} checkpoints; give "
                "one for each, or null"
            )
        if self.rounds and self.train.overlong_tokens > self.rank.max_tokens:
            raise ValueError(
                f"train.overlong_tokens is {self.train.overlong_tokens}, but a response has at most "
                f"{self.rank.max_tokens} (rank.max_tokens)"
            )
        return self

    @model_validator(mode="after")
    def _rounds_reach_the_working_llm(self) -> "Params":
        if not self.rounds:
            return self
        cluster = self.cluster.remote or self.cluster.job_server
        if cluster and self.chat.base_url == "local":
            raise ValueError(
                "chat.base_url is local, which a cluster's workers cannot reach while they train; give an endpoint"
            )
        if self.train.nnodes > 1 and not cluster:
            raise ValueError("train.nnodes is above 1, which needs cluster.address or cluster.job_server")
        return self
