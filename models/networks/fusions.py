# ruff: noqa: N803, N806
"""Turn a set of local features into one vector without attention, as baselines for attention.

Long et al., "Attention Clusters", CVPR 2018, Table 4, compares with these methods and gives only
their names. All but the first depend on the order of the vectors, which is that of their positions
in the video.

    Average             the mean of the set
    Flatten             the vectors, concatenated
    TS-LSTM             segments of the video, each pooled, and an LSTM over them
    Temporal-Inception  modules of convolutions along time, with several kernel sizes
    bi-directional LSTM the last states of both directions

TS-LSTM and Temporal-Inception are by Ma, Chen, Kira, AlRegib, "TS-LSTM and Temporal-Inception:
Exploiting Spatiotemporal Dynamics for Activity Recognition", 2017. They are written from memory of
the paper and of its published code, since the text was not available:
- TS-LSTM in the paper: batch normalization, the maximum (or the mean) over the frames of each
  segment, an LSTM over segments, its last state, normalized again. Here there is no normalization,
  because it would need more than one video in a batch. The 512 hidden cells are our choice.
- Temporal-Inception in the paper: the set is an image of time × features with one channel. A
  module has two convolutions, over 5 and over 7 positions in time and one feature, each with batch
  normalization, ReLU and max-pooling by 2 in time; their concatenation doubles the channels. After
  four modules, with 16 channels and one position, there is a fully connected layer of 1024. Here
  the last window of a pool may have one position, and the last module pools over all positions that
  remain, so that sets of any length are accepted (25 → 13 → 7 → 4 → 1; in the paper 25 → 12 → 6 →
  3 → 1, where the last pool has a window of 3). Batch statistics ignore padding. The layer of 1024
  has no normalization.

The 512 cells of each direction of the bi-directional LSTM are our choice.

    B batch   L vectors of a set   M their dimension   S segments   C channels   H hidden cells
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from models.layers.padding import clear_padding, find_padding

Pooling = Literal["maximum", "mean"]


class Fusion(nn.Module, ABC):
    """Base class of modules that turn sets (B, L, M) into vectors (B, ``out_features``).

    Attributes:
        dimension: M, the dimension of the input vectors.
        out_features: Size of the output vectors.
    """

    def __init__(self, dimension: int, out_features: int) -> None:
        """Store the sizes.

        Args:
            dimension: M, 1 or more.
            out_features: Size of the output vectors, 1 or more.

        Raises:
            ValueError: If a size is below 1.
        """
        super().__init__()
        if min(dimension, out_features) < 1:
            raise ValueError(f"expected sizes of 1 or more, got {dimension} and {out_features}")
        self.dimension, self.out_features = dimension, out_features

    @abstractmethod
    def fuse(self, x_BLM: Tensor, lengths_B: Tensor, padding_BL: Tensor | None) -> Tensor:
        """Turn sets whose padding is zero into vectors.

        Args:
            x_BLM: Sets of vectors, (B, L, M), with zeros in their padding.
            lengths_B: Number of vectors in each set, integers (B,) from 1 to L.
            padding_BL: The padding mask (B, L), or None if there is no padding.

        Returns:
            A tensor (B, ``out_features``).
        """

    def forward(self, x_BLM: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Turn each set into a vector.

        Args:
            x_BLM: Sets of vectors, (B, L, M).
            lengths_B: Number of vectors in each set, integers (B,) from 1 to L; the remaining
                rows are padding and are ignored. None: all L.

        Returns:
            A tensor (B, ``out_features``).

        Raises:
            ValueError: If the sets or lengths have another shape or range.
        """
        padding_BL = find_padding(x_BLM, lengths_B, self.dimension)
        if lengths_B is None:
            lengths_B = torch.full((len(x_BLM),), x_BLM.shape[1])
        x_BLM = clear_padding(x_BLM, padding_BL)
        return self.fuse(x_BLM, lengths_B.to(x_BLM.device), padding_BL)


class AverageFusion(Fusion):
    """The mean of each set, (B, M)."""

    def __init__(self, dimension: int) -> None:
        """Build the module, which has no parameters.

        Args:
            dimension: M, 1 or more.

        Raises:
            ValueError: If ``dimension`` is below 1.
        """
        super().__init__(dimension, dimension)

    def fuse(self, x_BLM: Tensor, lengths_B: Tensor, padding_BL: Tensor | None) -> Tensor:
        """Average each set."""
        return x_BLM.sum(1) / lengths_B[:, None]


class Flatten(Fusion):
    """The vectors of each set, concatenated: (B, length·M).

    From a set of another size, ``length`` vectors at evenly spaced positions are used, in order:
    of 25 vectors for a length of 20, five are left out; of 10, each is used twice.
    """

    def __init__(self, dimension: int, length: int = 25) -> None:
        """Build the module, which has no parameters.

        Args:
            dimension: M, 1 or more.
            length: Number of vectors to concatenate, 1 or more. Default: 25.

        Raises:
            ValueError: If a number is below 1.
        """
        super().__init__(dimension, dimension * length)
        self.length = length

    def fuse(self, x_BLM: Tensor, lengths_B: Tensor, padding_BL: Tensor | None) -> Tensor:
        """Concatenate the vectors of each set."""
        if padding_BL is None and x_BLM.shape[1] == self.length:
            return x_BLM.flatten(1)
        # The set is divided into ``length`` equal intervals, and the middle of each is used.
        intervals = torch.arange(self.length, device=x_BLM.device)
        positions = (2 * intervals + 1) * lengths_B[:, None] // (2 * self.length)
        return x_BLM.take_along_dim(positions[:, :, None], dim=1).flatten(1)


class TSLSTM(Fusion):
    """Segments of equal length, each pooled, and an LSTM over them: its last state, (B, hidden).

    Segment s of n vectors reaches from ⌊s·n/S⌋ to ⌈(s + 1)·n/S⌉. If S does not divide n,
    neighbouring segments share a vector, and no segment is empty.
    """

    def __init__(
        self, dimension: int, segments: int = 5, hidden: int = 512, pooling: Pooling = "maximum"
    ) -> None:
        """Build the module with random weights.

        Args:
            dimension: M, 1 or more.
            segments: S, 1 or more. Default: 5.
            hidden: Hidden cells of the LSTM, 1 or more. Default: 512.
            pooling: "maximum" or "mean" over each segment. Default: "maximum".

        Raises:
            ValueError: If a number is below 1 or the pooling is unknown.
        """
        super().__init__(dimension, hidden)
        if segments < 1 or pooling not in ("maximum", "mean"):
            raise ValueError(
                "expected 1 segment or more and a pooling by maximum or mean, got "
                f"{segments} and {pooling!r}"
            )
        self.segments, self.pooling = segments, pooling
        self.lstm = nn.LSTM(dimension, hidden, batch_first=True)

    def fuse(self, x_BLM: Tensor, lengths_B: Tensor, padding_BL: Tensor | None) -> Tensor:
        """Pool the segments of each set and run the LSTM over them."""
        _, (state_1BH, _) = self.lstm(self.pool_segments(x_BLM, lengths_B))
        return state_1BH[0]

    def pool_segments(self, x_BLM: Tensor, lengths_B: Tensor) -> Tensor:
        """Pool each segment of each set.

        Args:
            x_BLM: Sets of vectors, (B, L, M), with zeros in their padding.
            lengths_B: Number of vectors in each set, integers (B,) from 1 to L.

        Returns:
            A tensor (B, S, M).
        """
        positions_L = torch.arange(x_BLM.shape[1], device=x_BLM.device)
        pooled = []
        for segment in range(self.segments):
            start_B1 = (segment * lengths_B // self.segments)[:, None]
            stop_B1 = -(-(segment + 1) * lengths_B // self.segments)[:, None]
            inside_BL = (positions_L >= start_B1) & (positions_L < stop_B1)
            if self.pooling == "maximum":
                outside_BL1 = ~inside_BL[:, :, None]
                pooled.append(x_BLM.masked_fill(outside_BL1, -torch.inf).amax(1))
            else:
                weights_BL = inside_BL / (stop_B1 - start_B1)
                pooled.append((weights_BL[:, None].to(x_BLM.dtype) @ x_BLM)[:, 0])
        return torch.stack(pooled, dim=1)


class TemporalInception(Fusion):
    """Modules of convolutions along time, and a fully connected layer with ReLU: (B, hidden)."""

    def __init__(
        self, dimension: int, kernels: Sequence[int] = (5, 7), modules: int = 4, hidden: int = 1024
    ) -> None:
        """Build the module with random weights.

        Args:
            dimension: M, 1 or more.
            kernels: Odd lengths in time of the convolutions of each module. Default: (5, 7).
            modules: Number of modules, 1 or more. Default: 4.
            hidden: Cells of the fully connected layer, 1 or more. Default: 1024.

        Raises:
            ValueError: If a number is below 1, or a kernel is even.
        """
        super().__init__(dimension, hidden)
        if modules < 1 or not kernels or any(kernel % 2 == 0 for kernel in kernels):
            raise ValueError(
                f"expected 1 module or more and kernels of odd sizes, got {modules} and "
                f"{tuple(kernels)}"
            )
        channels = [len(kernels) ** level for level in range(modules + 1)]
        self.stages = nn.ModuleList(
            InceptionModule(channels[level], kernels) for level in range(modules)
        )
        self.fc = nn.Linear(channels[-1] * dimension, hidden)

    def fuse(self, x_BLM: Tensor, lengths_B: Tensor, padding_BL: Tensor | None) -> Tensor:
        """Run the modules and the fully connected layer."""
        x_BCLM = x_BLM[:, None]
        for stage_number, stage in enumerate(self.stages, 1):
            is_last = stage_number == len(self.stages)
            x_BCLM, padding_BL = stage(x_BCLM, padding_BL, pool_all=is_last)
        hidden: Tensor = self.fc(x_BCLM.flatten(1)).relu()
        return hidden


class InceptionModule(nn.Module):
    """Convolutions along time with several kernel sizes, batch norm, ReLU, and a pool in time."""

    def __init__(self, channels: int, kernels: Sequence[int]) -> None:
        """Build the module with random weights.

        Args:
            channels: Channels of the input, and of the output for each kernel.
            kernels: Odd lengths in time of the convolutions.
        """
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels, channels, (size, 1), padding=(size // 2, 0)) for size in kernels
        )
        # One batch normalization over the outputs of all kernels equals one for each kernel.
        self.norm = nn.BatchNorm2d(channels * len(kernels))

    def forward(
        self, x_BCLM: Tensor, padding_BL: Tensor | None, pool_all: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Run the module.

        Args:
            x_BCLM: Features (B, C, L, M), with zeros in their padding.
            padding_BL: The padding mask (B, L), or None if there is no padding.
            pool_all: Pool over all positions instead of over windows of 2.

        Returns:
            Features (B, C·kernels, ⌈L/2⌉ or 1, M), with zeros in their padding; and their padding
            mask, or None if there is no padding.
        """
        out_BCLM = torch.cat([layer(x_BCLM) for layer in self.convolutions], dim=1)
        if padding_BL is None:
            out_BCLM = self.norm(out_BCLM).relu()
        else:
            out_BLCM = torch.zeros_like(out_BCLM).transpose(1, 2)
            valid = self.norm(out_BCLM.transpose(1, 2)[~padding_BL][:, :, None]).relu()
            out_BLCM[~padding_BL] = valid[:, :, 0]
            out_BCLM = out_BLCM.transpose(1, 2)
        if pool_all:
            return out_BCLM.amax(2, keepdim=True), None
        # After the ReLU, the zeros of the padding do not exceed any maximum.
        pooled = nn.functional.max_pool2d(out_BCLM, (2, 1), ceil_mode=True)
        return pooled, None if padding_BL is None else padding_BL[:, ::2]


class BiLSTM(Fusion):
    """A bi-directional LSTM: the last states of both directions, (B, 2·hidden)."""

    def __init__(self, dimension: int, hidden: int = 512) -> None:
        """Build the module with random weights.

        Args:
            dimension: M, 1 or more.
            hidden: Hidden cells of each direction, 1 or more. Default: 512.

        Raises:
            ValueError: If a number is below 1.
        """
        super().__init__(dimension, 2 * hidden)
        self.lstm = nn.LSTM(dimension, hidden, batch_first=True, bidirectional=True)

    def fuse(self, x_BLM: Tensor, lengths_B: Tensor, padding_BL: Tensor | None) -> Tensor:
        """Run the LSTM in both directions, and concatenate their last states."""
        sequences = x_BLM
        if padding_BL is not None:
            sequences = pack_padded_sequence(x_BLM, lengths_B.cpu(), True, enforce_sorted=False)
        _, (states_2BH, _) = self.lstm(sequences)
        return torch.cat(list(states_2BH), dim=1)


FUSIONS: dict[str, type[Fusion]] = {
    "average": AverageFusion,
    "flatten": Flatten,
    "ts_lstm": TSLSTM,
    "temporal_inception": TemporalInception,
    "bilstm": BiLSTM,
}
