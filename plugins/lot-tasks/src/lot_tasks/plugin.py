"""What this package registers, as data. Imports no torch, since every command reads it."""

from __future__ import annotations

from lot import Component, hookimpl

_MAD = "Poli et al., Mechanistic Design and Scaling of Hybrid Architectures, 2024 (athms/mad-lab)"
_MQAR = "Arora et al., Zoology: Measuring and Improving Recall in Efficient Language Models, 2023"
_TOROIDAL = "ZanzyTHEbar/torodial-attention, prepare_data.py"
_TRAINS_ON_ALL = (
    "As published, training scores every next token, validation and test only what repeats; {}_corrected scores alike."
)
_MACRO = "MAD reports macro_accuracy, batch by batch; here it is over the whole split, beside token_accuracy."
_TEXT_SPLITS = (
    "A file is divided in order: the first 90 % of its bytes for training, 5 % for validation, 5 % for test. "
    "wikitext2 keeps its own split."
)


@hookimpl
def lot_tasks() -> list[Component]:
    return [*_patterns(), *_zoology(), *_recall(), *_mad(), *_texts()]


def _patterns() -> list[Component]:
    return [
        Component(
            name="copy_reverse",
            summary="Symbols, a delimiter, and the symbols backwards.",
            factory="lot_tasks.synthetic.copy_reverse:CopyReverse",
            config="lot_tasks.config:CopyReverseConfig",
            reference="joshause/lot, copy_reverse.py (vocabulary 1000, length 128)",
            notes=(
                "score=all is as published; it also scores the first symbols, which cannot be predicted.",
                "Published examples hold one more token, whose target is padding and is scored; it is left out here.",
            ),
        ),
        Component(
            name="periodic",
            summary="A random pattern, repeated, with noise.",
            factory="lot_tasks.synthetic.periodic:Periodic",
            config="lot_tasks.config:PeriodicConfig",
            reference=f"{_TOROIDAL} (period 32, length 128)",
            notes=("Noise is by token (2 % in the source, which also redraws 3 % of all periods as a whole).",),
        ),
        Component(
            name="sinusoidal",
            summary="Sums of sines, quantized to tokens.",
            factory="lot_tasks.synthetic.sinusoidal:Sinusoidal",
            config="lot_tasks.config:SinusoidalConfig",
            reference=f"{_TOROIDAL} (3 frequencies, length 128)",
            notes=(
                "As published, each signal is scaled by its own extremes, past and future; here the range is fixed.",
            ),
        ),
        Component(
            name="hierarchical",
            summary="Sentences of a random grammar with levels; the least possible loss is known.",
            factory="lot_tasks.synthetic.hierarchical:Hierarchical",
            config="lot_tasks.config:HierarchicalConfig",
            reference="Cagnetta et al., How Deep Neural Networks Learn Compositional Data, Physical Review X, 2024",
            notes=(
                "The first LOT rotates random tokens in groups of four and calls that hierarchical; they stay random.",
            ),
        ),
        Component(
            name="random",
            summary="Random tokens: the control, in which there is nothing to learn; the loss stays at ln V.",
            factory="lot_tasks.synthetic.random_tokens:RandomTokens",
            config="lot_tasks.config:RandomConfig",
            reference="joshause/lattice-oscillator-transformer, app.py",
        ),
    ]


def _zoology() -> list[Component]:
    return [
        Component(
            name="mqar",
            summary="Key-value pairs, then every key again among other tokens: what is its value?",
            factory="lot_tasks.synthetic.mqar:MQAR",
            config="lot_tasks.config:MQARConfig",
            reference=_MQAR,
            notes=("As published, some tokens between queries are keys that are not scored; mqar_corrected has none.",),
        ),
        Component(
            name="mqar_corrected",
            summary="mqar with no key among the tokens between queries.",
            factory="lot_tasks.synthetic.mqar:MQARCorrected",
            config="lot_tasks.config:MQARConfig",
            reference=_MQAR,
        ),
    ]


def _recall() -> list[Component]:
    return [
        Component(
            name="in_context_recall",
            summary="Pairs of key and value; a key that comes again has the value that it had before.",
            factory="lot_tasks.synthetic.recall:InContextRecall",
            config="lot_tasks.config:RecallConfig",
            reference=_MAD,
            notes=(_TRAINS_ON_ALL.format("in_context_recall"), _MACRO),
        ),
        Component(
            name="in_context_recall_corrected",
            summary="in_context_recall that trains on what it tests.",
            factory="lot_tasks.synthetic.recall:InContextRecallCorrected",
            config="lot_tasks.config:RecallConfig",
            reference=_MAD,
        ),
        Component(
            name="noisy_recall",
            summary="in_context_recall with noise tokens instead of some pairs.",
            factory="lot_tasks.synthetic.recall:NoisyRecall",
            config="lot_tasks.config:NoisyRecallConfig",
            reference=_MAD,
            notes=(_TRAINS_ON_ALL.format("noisy_recall"), _MACRO),
        ),
        Component(
            name="noisy_recall_corrected",
            summary="noisy_recall that trains on what it tests.",
            factory="lot_tasks.synthetic.recall:NoisyRecallCorrected",
            config="lot_tasks.config:NoisyRecallConfig",
            reference=_MAD,
        ),
        Component(
            name="fuzzy_recall",
            summary="in_context_recall with keys and values of several tokens.",
            factory="lot_tasks.synthetic.fuzzy_recall:FuzzyRecall",
            config="lot_tasks.config:FuzzyRecallConfig",
            reference=_MAD,
            notes=(
                _TRAINS_ON_ALL.format("fuzzy_recall"),
                "As published, some examples end with a pair never shown; fuzzy_recall_corrected always shows it.",
                _MACRO,
            ),
        ),
        Component(
            name="fuzzy_recall_corrected",
            summary="fuzzy_recall that trains on what it tests and always shows the pair that it ends with.",
            factory="lot_tasks.synthetic.fuzzy_recall:FuzzyRecallCorrected",
            config="lot_tasks.config:FuzzyRecallConfig",
            reference=_MAD,
        ),
    ]


def _mad() -> list[Component]:
    return [
        Component(
            name="selective_copying",
            summary="Symbols among blanks, to be given back in order.",
            factory="lot_tasks.synthetic.selective_copying:SelectiveCopying",
            config="lot_tasks.config:SelectiveCopyingConfig",
            reference=_MAD,
            notes=(
                "The published code places blanks by a generator that no seed controls; here the seed controls all.",
                _MACRO,
            ),
        ),
        Component(
            name="compression",
            summary="Symbols and a compression token; targets equal inputs.",
            factory="lot_tasks.synthetic.compression:Compression",
            config="lot_tasks.config:CompressionConfig",
            reference=_MAD,
            notes=(
                "Published for an auto-encoder. A decoder sees the answer at each position: use compression_corrected.",
                "As published, noise tokens are scored although they are marked as not scored.",
                _MACRO,
            ),
        ),
        Component(
            name="compression_corrected",
            summary="Symbols, then as many compression tokens, at which the symbols are asked for in order.",
            factory="lot_tasks.synthetic.compression:CompressionCorrected",
            config="lot_tasks.config:CompressionConfig",
            reference=_MAD,
            notes=("Attention can look back at the symbols; only a mechanism of bounded state has to compress them.",),
        ),
        Component(
            name="memorization",
            summary="Keys whose values are the same in every example: facts that only the parameters can hold.",
            factory="lot_tasks.synthetic.memorization:Memorization",
            config="lot_tasks.config:MemorizationConfig",
            reference=_MAD,
            notes=("All splits ask for the same facts, in sequences that differ.", _MACRO),
        ),
    ]


def _texts() -> list[Component]:
    return [
        Component(
            name="char_lm",
            summary="The next character of a text.",
            factory="lot_tasks.text.language_model:CharLM",
            config="lot_tasks.config:TextConfig",
            check="lot_tasks.text.files:check_files",
            reference="Karpathy, char-rnn, 2015 (tinyshakespeare)",
            notes=(_TEXT_SPLITS, "A character that the training split lacks becomes <unk>, which is scored."),
        ),
        Component(
            name="bytes_lm",
            summary="The next byte of a text, in bits per byte.",
            factory="lot_tasks.text.language_model:BytesLM",
            config="lot_tasks.config:TextConfig",
            check="lot_tasks.text.files:check_files",
            reference="Mahoney, Large Text Compression Benchmark (enwik8: 90, 5 and 5 million bytes)",
            notes=(_TEXT_SPLITS,),
        ),
        Component(
            name="word_lm",
            summary="The next word of a text.",
            factory="lot_tasks.text.language_model:WordLM",
            config="lot_tasks.config:WordLMConfig",
            check="lot_tasks.text.files:check_files",
            reference="Merity et al., Pointer Sentinel Mixture Models, 2016 (WikiText-2)",
            notes=(
                _TEXT_SPLITS,
                "Words stand between white space. <unk> is scored: perplexities compare for equal vocabularies only.",
            ),
        ),
        Component(
            name="text_lm",
            summary="The next token of a text, by a tokenizer of your choice.",
            factory="lot_tasks.text.language_model:TextLM",
            config="lot_tasks.config:TextLMConfig",
            check="lot_tasks.text.files:check_files",
            reference="Hugging Face tokenizers (JSON files)",
            notes=(_TEXT_SPLITS, "Perplexities of different tokenizers do not compare."),
        ),
        Component(
            name="text_stream",
            summary="The next token of documents, in files of any number and size, or of a dataset of the Hugging Face hub.",
            factory="lot_tasks.stream.task:TextStream",
            config="lot_tasks.stream.config:TextStreamConfig",
            check="lot_tasks.stream.sources:check_stream",
            content="lot_tasks.stream.sources:content_of",
            reference="Penedo et al., The FineWeb Datasets, 2024; Gokaslan and Cohen, OpenWebText Corpus, 2019",
            notes=(
                "The content of a document decides its split; wikitext103 keeps its own split.",
                "Documents are tokenized once, into an index in the cache; `lot cache` shows and deletes it.",
                "Attention and states go on from one document to the next; a token of its own stands between them.",
                "Perplexities of different tokenizers do not compare.",
            ),
        ),
    ]
