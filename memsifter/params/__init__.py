"""Typed, validated parameters.

`params.yaml` is composed from `configs/` by Hydra and validated here, whole, before any stage starts to work. An
unknown key, a wrong type or an impossible value becomes one error that names the key and what is allowed.
"""

from memsifter.params.base import METHODS, ORDERS, Method, View
from memsifter.params.data import DataParams, FileDatasetParams, ModelParams
from memsifter.params.llm import ChatParams, EvaluateParams, JudgeParams, PromptParams, RankParams
from memsifter.params.load import PARAMS_FILE, load_params, parse_params
from memsifter.params.machine import ClusterParams, EngineParams, TrackingParams
from memsifter.params.readers import AnyDatasetParams
from memsifter.params.retrieval import (
    Bm25Params,
    EmbedParams,
    FitParams,
    FusionWeights,
    LikelihoodFitParams,
    LikelihoodParams,
    RetrievalParams,
    ScoreName,
    Unit,
)
from memsifter.params.training import (
    CollectParams,
    DrawParams,
    MergeParams,
    RewardParams,
    RoundParams,
    TrainParams,
    WarmStartParams,
)
from memsifter.params.tree import MatrixParams, Params

__all__ = [
    "METHODS",
    "ORDERS",
    "PARAMS_FILE",
    "AnyDatasetParams",
    "Bm25Params",
    "ChatParams",
    "ClusterParams",
    "CollectParams",
    "DataParams",
    "DrawParams",
    "EmbedParams",
    "EngineParams",
    "EvaluateParams",
    "FileDatasetParams",
    "FitParams",
    "FusionWeights",
    "JudgeParams",
    "LikelihoodFitParams",
    "LikelihoodParams",
    "MatrixParams",
    "MergeParams",
    "Method",
    "ModelParams",
    "Params",
    "PromptParams",
    "RankParams",
    "RetrievalParams",
    "RewardParams",
    "RoundParams",
    "ScoreName",
    "TrackingParams",
    "TrainParams",
    "Unit",
    "View",
    "WarmStartParams",
    "load_params",
    "parse_params",
]
