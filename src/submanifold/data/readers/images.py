"""A folder of images of one size; folders in it are classes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from submanifold.data.door import Raw, chosen, class_indices
from submanifold.errors import InvalidInput

__all__ = ["SUFFIXES", "read_images"]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
_MAX_PIXELS = 1 << 26  # of one image, checked before it is decoded
_MAX_BYTES = 1 << 33  # of all of them
_GREY = {"1": "L", "L": "L", "I;16": "I;16", "I;16B": "I;16", "I;16L": "I;16", "I": "I", "F": "F"}


def read_images(source: Path, limit: int | None) -> Raw:
    """All images under the folder, in the order of their paths: (n, 1, H, W) if all are grey, else (n, 3, H, W).

    When every image lies in a subfolder, the name of that subfolder is its class. An opaque alpha channel is dropped.
    """
    files = sorted(
        path
        for path in source.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    if not files:
        raise InvalidInput(f"{source} holds no images: {', '.join(sorted(SUFFIXES))} are read")
    files = [files[i] for i in chosen(len(files), limit)]
    images = [_read_first(files)]
    for path in files[1:]:
        image = _read_image(path)
        if image.shape[:2] != images[0].shape[:2]:
            raise InvalidInput(
                f"{path} is {_size(image)} pixels and {files[0]} is {_size(images[0])}: give images of one size"
            )
        images.append(image)
    colour = any(image.shape[2] == 3 for image in images)
    x = np.stack([np.broadcast_to(image, (*image.shape[:2], 3 if colour else 1)) for image in images])
    classes = [path.relative_to(source).parts[0] for path in files]
    labelled = all(len(path.relative_to(source).parts) > 1 for path in files)
    return Raw(
        np.ascontiguousarray(np.moveaxis(x, -1, 1)),  # (n, C, H, W)
        source.resolve().name,
        class_indices(classes, len(files)) if labelled else None,
    )


def _read_first(files: list[Path]) -> NDArray[Any]:
    """The first image, once it is clear that as many of its size fit in memory."""
    image = _read_image(files[0])
    if image.nbytes * len(files) > _MAX_BYTES:
        raise InvalidInput(
            f"{len(files)} images of {_size(image)} pixels take {image.nbytes * len(files) / 2**30:.0f} GiB: "
            "give a limit, or smaller images"
        )
    return image


def _read_image(path: Path) -> NDArray[Any]:
    """One image as (H, W, 1) or (H, W, 3)."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if image.width * image.height > _MAX_PIXELS:
                    raise InvalidInput(
                        f"{path} has {image.width} x {image.height} pixels: give images of at most {_MAX_PIXELS}"
                    )
                if image.mode in _GREY:
                    return np.asarray(image.convert(_GREY[image.mode]))[..., None]  # (H, W, 1)
                rgba = np.asarray(image.convert("RGBA"))  # (H, W, 4)
                grey = image.mode == "LA"
    except InvalidInput:
        raise
    except (OSError, SyntaxError, ValueError, Warning, Image.DecompressionBombError) as error:
        raise InvalidInput(f"{path} is no readable image: {error}") from None
    if (rgba[..., 3] < 255).any():
        raise InvalidInput(f"{path} is partly transparent: give opaque images")
    return rgba[..., : 1 if grey else 3]  # (H, W, 1) or (H, W, 3)


def _size(image: NDArray[Any]) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"
