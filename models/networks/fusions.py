# ruff: noqa: N803, N806
"""What else makes one vector of a set of local features: what attention is compared with.

Long et al., "Attention Clusters", CVPR 2018, Table 4, compares with these and says no more than
their names. All but the first go by the order of vectors, which are those of a video's positions.

    Average             the mean of the set
    Flatten             the vectors one after another
    TS-LSTM             segments of the video, each pooled, and an LSTM over them
    Temporal-Inception  modules of convolutions along time, of several kernel sizes
    bi-directional LSTM both last states

The two of Ma, Chen, Kira, AlRegib, "TS-LSTM and Temporal-Inception: Exploiting Spatiotemporal
Dynamics for Activity Recognition", 2017, are written from memory of the paper and from what its
published code does; their text was not at hand:
- TS-LSTM there: batch normalization, the maximum (or the mean) over each segment's frames, an LSTM
  over segments, its last state, normalized again. Here without the normalizations, which would
  need more than one video in a batch. 512 hidden cells are chosen.
- Temporal-Inception there: the set is an image of time × features of one channel. A module has two
  convolutions, of 5 and of 7 positions in time and one feature, each with batch normalization,
  ReLU and maxima of 2 in time; side by side they double the channels. After four modules, 16
  channels of one position, a fully connected layer of 1024. Here maxima of an odd number end with
  one alone, and the last module takes that over all the time left, so that sets of every length
  pass (25 → 13 → 7 → 4 → 1; there 25 → 12 → 6 → 3 → 1, by 3); statistics are of vectors, never of
  padding; the layer of 1024 has no normalization.

The bi-directional LSTM has 512 cells a direction: chosen.

    B batch   L vectors of a set   M their dimension   S segments   C channels   H hidden cells
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from models.layers.padding import clear_padding, find_padding

Pooling = Literal["maximum", "mean"]


class Fusion(nn.Module):
    """A module that makes (B, ``out_features``) of sets (B, L, M) and their lengths.

    Lengths are int (B,), each 1 or more, or None for all L; the rest is padding, whose content
    does not matter. Raises ValueError for sets and lengths that do not fit.
    """

    def __init__(self, dimension: int, out_features: int) -> None:
        super().__init__()
        if min(dimension, out_features) < 1:
            raise ValueError(f"expected sizes of 1 or more, got {dimension} and {out_features}")
        self.dimension, self.out_features = dimension, out_features

    def _clear(
        self, x_BLM: torch.Tensor, lengths_B: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """The sets with zeros where there is padding, all lengths (B,), and the padding (B, L)."""
        padding_BL = find_padding(x_BLM, lengths_B, self.dimension)
        if lengths_B is None:
            lengths_B = torch.full((len(x_BLM),), x_BLM.shape[1])
        return clear_padding(x_BLM, padding_BL), lengths_B.to(x_BLM.device), padding_BL


class AverageFusion(Fusion):
    """The mean of the set, (B, M)."""

    def __init__(self, dimension: int) -> None:
        super().__init__(dimension, dimension)

    def forward(self, x_BLM: torch.Tensor, lengths_B: torch.Tensor | None = None) -> torch.Tensor:
        x_BLM, lengths_B, _ = self._clear(x_BLM, lengths_B)
        return x_BLM.sum(1) / lengths_B[:, None]


class Flatten(Fusion):
    """``length`` vectors of the set one after another, (B, length·M).

    Of a set of another size, those at evenly spaced places, in order: of 25 for 20 five are left
    out, of 10 for 20 each comes twice.
    """

    def __init__(self, dimension: int, length: int = 25) -> None:
        super().__init__(dimension, dimension * length)
        self.length = length

    def forward(self, x_BLM: torch.Tensor, lengths_B: torch.Tensor | None = None) -> torch.Tensor:
        x_BLM, lengths_B, padding_BL = self._clear(x_BLM, lengths_B)
        if padding_BL is None and x_BLM.shape[1] == self.length:
            return x_BLM.flatten(1)
        wanted = torch.arange(self.length, device=x_BLM.device)
        places = (2 * wanted + 1) * lengths_B[:, None] // (2 * self.length)  # of middles
        return x_BLM.take_along_dim(places[:, :, None], dim=1).flatten(1)


class TSLSTM(Fusion):
    """Segments of equal length, each pooled, and an LSTM over them: its last state, (B, hidden).

    Segment s of n vectors is ⌊s·n/S⌋ to ⌈(s + 1)·n/S⌉: where S does not divide n neighbours share a
    vector, and none is empty.
    """

    def __init__(
        self, dimension: int, segments: int = 5, hidden: int = 512, pooling: Pooling = "maximum"
    ) -> None:
        super().__init__(dimension, hidden)
        if segments < 1 or pooling not in ("maximum", "mean"):
            raise ValueError(
                "expected 1 segment or more and a pooling by maximum or mean, got "
                f"{segments} and {pooling!r}"
            )
        self.segments, self.pooling = segments, pooling
        self.lstm = nn.LSTM(dimension, hidden, batch_first=True)

    def forward(self, x_BLM: torch.Tensor, lengths_B: torch.Tensor | None = None) -> torch.Tensor:
        x_BLM, lengths_B, _ = self._clear(x_BLM, lengths_B)
        _, (state_1BH, _) = self.lstm(self.pool(x_BLM, lengths_B))
        return state_1BH[0]

    def pool(self, x_BLM: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """Sets with zeros in their padding → (B, S, M)."""
        places_L = torch.arange(x_BLM.shape[1], device=x_BLM.device)
        pooled = []
        for segment in range(self.segments):
            first_B1 = (segment * lengths_B // self.segments)[:, None]
            behind_B1 = -(-(segment + 1) * lengths_B // self.segments)[:, None]
            inside_BL = (places_L >= first_B1) & (places_L < behind_B1)
            if self.pooling == "maximum":
                outside_BL1 = ~inside_BL[:, :, None]
                pooled.append(x_BLM.masked_fill(outside_BL1, -torch.inf).amax(1))
            else:
                weights_BL = inside_BL / (behind_B1 - first_B1)
                pooled.append((weights_BL[:, None].to(x_BLM.dtype) @ x_BLM)[:, 0])
        return torch.stack(pooled, dim=1)


class TemporalInception(Fusion):
    """Modules of convolutions along time, and a fully connected layer of ReLU: (B, hidden)."""

    def __init__(
        self,
        dimension: int,
        kernels: Sequence[int] = (5, 7),
        modules: int = 4,
        hidden: int = 1024,
    ) -> None:
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

    def forward(self, x_BLM: torch.Tensor, lengths_B: torch.Tensor | None = None) -> torch.Tensor:
        x_BLM, _, padding_BL = self._clear(x_BLM, lengths_B)
        x_BCLM = x_BLM[:, None]
        for number, stage in enumerate(self.stages, 1):
            x_BCLM, padding_BL = stage(x_BCLM, padding_BL, whole=number == len(self.stages))
        hidden: torch.Tensor = self.fc(x_BCLM.flatten(1)).relu()
        return hidden


class InceptionModule(nn.Module):
    """C channels → C for each kernel; half as long, or one position."""

    def __init__(self, channels: int, kernels: Sequence[int]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels, channels, (size, 1), padding=(size // 2, 0)) for size in kernels
        )
        # One of all branches' channels is the same as one for each branch.
        self.norm = nn.BatchNorm2d(channels * len(kernels))

    def forward(
        self, x_BCLM: torch.Tensor, padding_BL: torch.Tensor | None, whole: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Zeros where there is padding, in and out; and the padding of what comes out."""
        found_BCLM = torch.cat([layer(x_BCLM) for layer in self.convolutions], dim=1)
        if padding_BL is None:
            found_BCLM = self.norm(found_BCLM).relu()
        else:
            found_BLCM = torch.zeros_like(found_BCLM).transpose(1, 2)
            kept = self.norm(found_BCLM.transpose(1, 2)[~padding_BL][:, :, None]).relu()
            found_BLCM[~padding_BL] = kept[:, :, 0]
            found_BCLM = found_BLCM.transpose(1, 2)
        if whole:
            return found_BCLM.amax(2, keepdim=True), None
        # After the ReLU the zeros of padding are no more than any maximum.
        halves = nn.functional.max_pool2d(found_BCLM, (2, 1), ceil_mode=True)
        return halves, None if padding_BL is None else padding_BL[:, ::2]


class BiLSTM(Fusion):
    """The last states of an LSTM forwards and one backwards, (B, 2·hidden)."""

    def __init__(self, dimension: int, hidden: int = 512) -> None:
        super().__init__(dimension, 2 * hidden)
        self.lstm = nn.LSTM(dimension, hidden, batch_first=True, bidirectional=True)

    def forward(self, x_BLM: torch.Tensor, lengths_B: torch.Tensor | None = None) -> torch.Tensor:
        x_BLM, lengths_B, padding_BL = self._clear(x_BLM, lengths_B)
        given = x_BLM
        if padding_BL is not None:
            given = pack_padded_sequence(x_BLM, lengths_B.cpu(), True, enforce_sorted=False)
        _, (states_2BH, _) = self.lstm(given)
        return torch.cat([states_2BH[0], states_2BH[1]], dim=1)


FUSIONS: dict[str, type[Fusion]] = {
    "average": AverageFusion,
    "flatten": Flatten,
    "ts_lstm": TSLSTM,
    "temporal_inception": TemporalInception,
    "bilstm": BiLSTM,
}
