"""The closed-form rotation fit beside torch.linalg.svd: python -m tests.bench.rotation_rate [THREADS].

512 x 1,000 matrices, float32 and float64, with the same number of threads for both. The SVD is timed alone, and with
the two products and the determinant that make a rotation of it. Times are the processor's, the best of a few.
"""

import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from dp3d_model.geometry.camera import nearest_rotation

COUNT, ROUNDS = 512 * 1000, 5


def by_svd(matrices: Tensor) -> Tensor:
    """What the closed form replaces."""
    u, _, vt = torch.linalg.svd(matrices)
    flip = torch.linalg.det(u @ vt).sign()
    return torch.cat([u[..., :2], u[..., 2:] * flip[:, None, None]], dim=2) @ vt


def seconds(work: Callable[[], object]) -> float:
    """Processor time of the quickest round."""
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def compare(matrices: Tensor) -> str:
    """The ratios, and the largest difference where the answer is unique."""
    alone, whole = seconds(lambda: torch.linalg.svd(matrices)), seconds(lambda: by_svd(matrices))
    ours, exact = seconds(lambda: nearest_rotation(matrices)), matrices.double()
    singular = torch.linalg.svdvals(exact)
    gap = (singular[:, 1] + torch.linalg.det(exact).sign() * singular[:, 2]) / singular[:, 0]
    apart = (nearest_rotation(matrices).double() - by_svd(exact)).abs().amax((1, 2))[gap > 1e-3].max()
    ratios = f"the SVD alone takes {alone / ours:.1f} times that, as a rotation {whole / ours:.1f} times"
    return f"{matrices.dtype}: {1e3 * ours:.1f} ms; {ratios}; largest difference {float(apart):.1e}"


def main(threads: int) -> None:
    """Print a line for each precision."""
    torch.set_num_threads(threads)
    print(f"{COUNT} matrices, {threads} threads")
    for dtype in (torch.float32, torch.float64):
        print(compare(torch.randn(COUNT, 3, 3, generator=torch.Generator().manual_seed(0)).to(dtype)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
