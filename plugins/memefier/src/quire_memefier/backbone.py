"""The frozen CLIP: loading it from a folder or the hub, and its token and global features (sec. 3.1)."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from quire.errors import DataError, QuireError, Where
from quire.storage import atomic_folder, cache_root, content_hash
from quire_memefier.network import Shape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from PIL.Image import Image

TINY = "tiny-random"
TokenFeatures = Literal["last_ln2", "last_hidden"]
PadMode = Literal["clip", "reference"]
_TINY_SEED = 0
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_TOKENIZER = ("tokenizer.json", "vocab.json")
_PROCESSOR = ("preprocessor_config.json", "processor_config.json")


@dataclass(frozen=True)
class Tokens:
    """Texts as CLIP reads them: ids int64 [n, T], mask bool [n, T] (True: no pad), length of each before truncation."""

    ids: Tensor
    mask: Tensor
    lengths: list[int]


@dataclass(frozen=True)
class Features:
    """tokens [n, tokens, width] and their projected summary [n, embedding width]."""

    tokens: Tensor
    summary: Tensor


class ClipBackbone:
    """A frozen CLIP with its tokenizer and image processor.

    Threads may share it: what a hook catches stays in the thread whose forward pass it belongs to.
    """

    def __init__(self, name: str, model: CLIPModel, tokenizer: CLIPTokenizer, processor: CLIPImageProcessorPil) -> None:
        self.name = name
        self.model = model.requires_grad_(False)
        self.model.train(False)
        self.tokenizer = tokenizer
        self.processor = processor
        self.fingerprint = _fingerprint(model)
        self.preprocessing: dict[str, Any] = json.loads(json.dumps(processor.to_dict(), default=list))
        self.vocabulary = content_hash(tokenizer.backend_tokenizer.to_str())
        self._caught = threading.local()
        model.vision_model.encoder.layers[-1].layer_norm2.register_forward_hook(self._catch)
        model.text_model.encoder.layers[-1].layer_norm2.register_forward_hook(self._catch)

    def _catch(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self._caught.tokens = output

    @property
    def _config(self) -> Any:
        return self.model.config

    @property
    def image_size(self) -> int:
        """The side of an image in pixels."""
        return int(self._config.vision_config.image_size)

    @property
    def text_length(self) -> int:
        """T: the most tokens of a text, with its two ends."""
        return int(self._config.text_config.max_position_embeddings)

    @property
    def grid(self) -> int:
        """Patches along a side of the image."""
        return self.image_size // int(self._config.vision_config.patch_size)

    @property
    def shape(self) -> Shape:
        """Widths and number of tokens of the features."""
        config = self._config
        return Shape(
            config.vision_config.hidden_size, config.text_config.hidden_size, config.projection_dim, self.grid**2 + 1
        )

    def pixel_values(self, images: Sequence[Image]) -> Tensor:
        """float32 [n, 3, side, side]: resized, cropped in the middle, normalised as the processor says."""
        values: Tensor = self.processor(list(images), return_tensors="pt")["pixel_values"]
        return values

    def tokenize(self, texts: Sequence[str], pad_mode: PadMode = "clip") -> Tokens:
        """Ids between the two ends, truncated to `text_length`; pads are the end token, in the reference's way 0."""
        encoded: list[list[int]] = self.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
        pad, length = 0 if pad_mode == "reference" else self.tokenizer.pad_token_id, self.text_length
        ids = torch.full((len(encoded), length), pad, dtype=torch.int64)
        mask = torch.zeros((len(encoded), length), dtype=torch.bool)
        for row, full in enumerate(encoded):
            cut = full if len(full) <= length else [*full[: length - 1], full[-1]]
            ids[row, : len(cut)] = torch.tensor(cut)
            mask[row, : len(cut)] = True
        return Tokens(ids, mask, [len(full) for full in encoded])

    @torch.no_grad()
    def encode_images(self, pixel_values: Tensor, kind: TokenFeatures = "last_ln2") -> Features:
        """Features of images [n, 3, side, side]: tokens [n, 1 + patches, width], the class token first."""
        return self._features(lambda: self.model.get_image_features(pixel_values=pixel_values), kind)

    @torch.no_grad()
    def encode_texts(
        self, ids: Tensor, mask: Tensor, *, kind: TokenFeatures = "last_ln2", pad_mode: PadMode = "clip"
    ) -> Features:
        """Features of texts [n, T]: tokens [n, T, width]. In the reference's way pads are not masked."""
        attention = mask.long() if pad_mode == "clip" else None
        return self._features(lambda: self.model.get_text_features(input_ids=ids, attention_mask=attention), kind)

    def _features(self, forward: Callable[[], Any], kind: TokenFeatures) -> Features:
        with torch.autocast(self.model.device.type, enabled=False):  # what is cached must not depend on the run
            outputs = forward()
        tokens = self._caught.tokens if kind == "last_ln2" else outputs.last_hidden_state
        del self._caught.tokens
        return Features(tokens, outputs.pooler_output)


@lru_cache(maxsize=2)
def load_backbone(name: str, *, download: bool = False) -> ClipBackbone:
    """The CLIP in the folder `name`, of the hub id `name`, or the tiny random one; kept for the next caller.

    A folder is read as it is; a hub id is looked up in the hub's cache on this machine and, with `download`, fetched.
    Raises DataError naming the file that a folder lacks, QuireError for a hub id that is not to be had.
    """
    if name == TINY:
        folder = tiny_backbone()
        return _from_pretrained(name, str(folder), local=True)
    path = Path(name).expanduser()
    if path.is_dir():
        _check_folder(path)
        return _from_pretrained(name, str(path), local=True)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise DataError("there is no such folder", where=Where(file=path), remedy="Name a CLIP folder or a hub id.")
    return _from_pretrained(name, name, local=not download)


def _from_pretrained(name: str, source: str, *, local: bool) -> ClipBackbone:
    try:
        with _quiet():
            model = CLIPModel.from_pretrained(source, local_files_only=local, use_safetensors=True, dtype=torch.float32)
            tokenizer = CLIPTokenizer.from_pretrained(source, local_files_only=local)
            processor = CLIPImageProcessorPil.from_pretrained(source, local_files_only=local)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise _not_loaded(name, source, local, error) from error
    return ClipBackbone(name, model, tokenizer, processor)


def _not_loaded(name: str, source: str, local: bool, error: Exception) -> QuireError:
    reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
    if Path(source).is_dir():
        return DataError(f"this is no CLIP model that can be loaded ({reason})", where=Where(file=Path(source)))
    folder = "give the folder of a copy: backbone=FOLDER"
    if local:
        return QuireError(
            f"the backbone {name} is not on this machine",
            where=Where(field="backbone"),
            remedy=f"Add download=true to fetch it from the Hugging Face hub, or {folder}.",
        )
    return QuireError(
        f"the backbone {name} could not be fetched from the hub ({reason})",
        where=Where(field="backbone"),
        remedy=f"Check the connection, or {folder}.",
    )


def _check_folder(path: Path) -> None:
    for names, what in (
        (("config.json",), "configuration"),
        (_WEIGHTS, "weights"),
        (_TOKENIZER, "tokenizer"),
        (_PROCESSOR, "image processor"),
    ):
        if not any((path / name).is_file() for name in names):
            raise DataError(
                f"the CLIP folder lacks its {what}: there is no {' or '.join(names)}",
                where=Where(file=path),
                remedy="Save model, tokenizer and image processor there with save_pretrained.",
            )
    kind = json.loads((path / "config.json").read_text(encoding="utf-8")).get("model_type")
    if kind != "clip":
        raise DataError(f"this is a model of type {kind!r}, not 'clip'", where=Where(file=path / "config.json"))


class _quiet:  # noqa: N801 - a context manager that reads as an adverb
    """No progress bars and no warnings of transformers inside."""

    def __enter__(self) -> None:
        from transformers.utils import logging as chatter

        self._logger = logging.getLogger("transformers")
        self._level, self._bars = self._logger.level, chatter.is_progress_bar_enabled()
        self._logger.setLevel(logging.ERROR)
        chatter.disable_progress_bar()  # type: ignore[no-untyped-call]

    def __exit__(self, *_: object) -> None:
        from transformers.utils import logging as chatter

        self._logger.setLevel(self._level)
        if self._bars:
            chatter.enable_progress_bar()  # type: ignore[no-untyped-call]


def _fingerprint(model: CLIPModel) -> str:
    """A hash of every weight."""
    state = {name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}
    return content_hash(*(part for name in sorted(state) for part in (name, np.ascontiguousarray(state[name]))))


# ---------------------------------------------------------------------------------------------------- a CLIP of seconds


def tiny_backbone() -> Path:
    """The folder of the tiny random CLIP, made on first use from a fixed seed and kept in the cache."""
    folder = cache_root() / "memefier" / f"{TINY}-{_TINY_SEED}"
    if not (folder / "config.json").is_file():
        with atomic_folder(folder) as building:
            write_tiny_backbone(building, seed=_TINY_SEED)
    return folder


def write_tiny_backbone(folder: Path, *, seed: int) -> None:
    """Save a CLIP with random weights: two layers each, vision 48 wide on 56 x 56 pixels in patches of 14, text 32 wide
    with 20 tokens, projection 24. Its tokens are bytes.
    """
    both = {"num_hidden_layers": 2, "num_attention_heads": 4}
    vision = {"hidden_size": 48, "intermediate_size": 96, "image_size": 56, "patch_size": 14, **both}
    text = {"hidden_size": 32, "intermediate_size": 64, "max_position_embeddings": 20, **both}
    write_random_backbone(folder, vision=vision, text=text, projection=24, seed=seed)


def write_random_backbone(
    folder: Path, *, vision: Mapping[str, Any], text: Mapping[str, Any], projection: int, seed: int
) -> None:
    """Save a CLIP of the given towers with random weights, its image processor, and a tokenizer of bytes."""
    tokenizer = _byte_tokenizer()
    ids = {"vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = CLIPConfig(
        text_config={**text, **ids, "pad_token_id": tokenizer.pad_token_id, "projection_dim": projection},
        vision_config={**vision, "projection_dim": projection},
        projection_dim=projection,
    )
    side = vision["image_size"]
    processor = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    with torch.random.fork_rng(devices=[]), _quiet():
        torch.manual_seed(seed)
        CLIPModel(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        processor.save_pretrained(folder)


def _byte_tokenizer() -> CLIPTokenizer:
    """Every byte is a token, at a word's end another one."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())  # type: ignore[no-untyped-call]
    names = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={name: number for number, name in enumerate(names)}, merges=[])
