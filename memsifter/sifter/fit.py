"""The weights that ship with the package, from data that may be shipped: the built-in, generated conversations."""

from pathlib import Path

from memsifter.corpus.store import build_dataset
from memsifter.datasets.sample.reader import SampleReader
from memsifter.fusion.combine import FittedWeights, write_weights
from memsifter.fusion.fit import fit_fusion
from memsifter.fusion.training_set import collect_training_set
from memsifter.retrieval.catalogue import computed_scores, needed_units
from memsifter.retrieval.embedder import embed_texts
from memsifter.retrieval.embeddings import assemble_embeddings
from memsifter.retrieval.encoder import EncoderFiles
from memsifter.retrieval.scores import score_questions
from memsifter.sifter.encoder import LocalEncoder, TextEncoder, encode_missing
from memsifter.sifter.models import DEFAULT_EMBEDDER, find_model
from memsifter.sifter.settings import SifterSettings
from memsifter.sifter.vector_store import SearchVectors, VectorStore

SAMPLE = SampleReader(reader="sample", seed=7, haystacks=6, sessions=30, questions=10, train_fraction=0.5)
"""`configs/dataset/sample.yaml`, of which the train questions are fitted on."""


def write_shipped_weights(path: Path, fit: bool) -> None:
    """Write the weights that ship with the package: those that fitting starts from, for both fitted methods.

    Args:
        path: the file.
        fit: write those of `fitted` alone, fitted on the sample with the default embedder and parameters.
    """
    settings = SifterSettings()
    if fit:
        encoder = LocalEncoder(EncoderFiles(find_model(DEFAULT_EMBEDDER), settings.embed))
        write_weights(path, fit_sample_weights(encoder, settings))
    else:
        with_likelihood = fit_fusion(None, settings.retrieval, likelihood=True)
        write_weights(path, fit_fusion(None, settings.retrieval), with_likelihood)


def fit_sample_weights(encoder: TextEncoder, settings: SifterSettings) -> FittedWeights:
    """What stage `fit_fusion` gives for the generated sample.

    Args:
        encoder: embeds it.
        settings: `retrieval` says how to fit, from which weights.
    """
    dataset = build_dataset(SAMPLE.generate())
    vectors = SearchVectors(VectorStore())
    tables = embed_texts(dataset, encoder.reader, vectors, lambda texts: encode_missing(texts, vectors, encoder))
    names = computed_scores(settings.retrieval)
    embedded = assemble_embeddings(
        tables.settings, tables.units, tables.questions, dataset, needed_units(names), "m3_lexical" in names, "sample"
    )
    scores = score_questions(dataset, embedded, settings.retrieval)
    return fit_fusion(collect_training_set({"sample": dataset}, {"sample": scores}), settings.retrieval)
