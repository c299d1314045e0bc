"""Images as a network's input: size, channel order, normalisation, augmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from quire.errors import InvalidSample, Where

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from quire_amsoftmax.config import AMSoftmaxConfig


def to_pixels(images: Sequence[Image.Image], names: Sequence[str | int], config: AMSoftmaxConfig) -> Tensor:
    """float32 [n, channels, height, width], normalised. InvalidSample naming the first image of another size."""
    arrays = [
        _array(_sized(image, name, config), config.channel_order) for image, name in zip(images, names, strict=True)
    ]
    pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
    return pixels.float().sub_(config.pixel_mean).div_(config.pixel_std)


def augment(pixels: Tensor, config: AMSoftmaxConfig, rng: np.random.Generator) -> Tensor:
    """Mirrored, shifted (edges repeated), multiplied and brightened images, each by chance; [n, channels, h, w]."""
    n, _, height, width = pixels.shape
    mirrored = torch.from_numpy(rng.random(n) < config.hflip)
    pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
    if config.shift:
        down, right = (torch.from_numpy(rng.integers(-config.shift, config.shift + 1, n)) for _ in range(2))
        rows = (torch.arange(height) + down[:, None]).clamp(0, height - 1)
        columns = (torch.arange(width) + right[:, None]).clamp(0, width - 1)
        pixels = pixels[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if config.gain:
        pixels = pixels * torch.from_numpy(rng.normal(1, config.gain, (n, 1, 1, 1)).astype(np.float32))
    if config.offset:
        pixels = pixels + torch.from_numpy(rng.normal(0, config.offset, (n, 1, 1, 1)).astype(np.float32))
    return pixels.contiguous()


def _sized(image: Image.Image, name: str | int, config: AMSoftmaxConfig) -> Image.Image:
    height, width = config.input_size
    if image.size == (width, height):
        return image
    if config.resize == "area":
        return image.resize((width, height), Image.Resampling.BOX)
    found = f"the image is {image.height} x {image.width} (height x width)"
    if image.size == (height, width):
        message = f"{found} and looks transposed: the network takes {height} x {width}"
        remedy = f"Set input_size=[{width},{height}]."
    else:
        message = f"{found}, the network takes {height} x {width}"
        remedy = "Align the images to that size, or set resize=area."
    raise InvalidSample(message, where=Where(sample=name, field="image"), remedy=remedy)


def _array(image: Image.Image, order: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """uint8 [h, w, channels]."""
    if order == "grey":
        return np.array(image.convert("L"))[..., None]
    array = np.array(image.convert("RGB"))
    return array if order == "rgb" else np.ascontiguousarray(array[..., ::-1])
