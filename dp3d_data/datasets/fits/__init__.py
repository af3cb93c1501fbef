"""Published model fits: one reader per layout, all of them give fits."""

from dp3d_data.datasets.fits.animal3d import Animal3D
from dp3d_data.datasets.fits.human36m import Human36M
from dp3d_data.datasets.fits.neutral import Neutral, write_fits
from dp3d_data.datasets.fits.posed_mesh import PosedMesh
from dp3d_data.datasets.fits.records import Fit, FitCamera, FitFailure, FitReader, same_fit
from dp3d_data.datasets.fits.smalify import Smalify
from dp3d_data.datasets.fits.stanford_dogs import StanfordDogs
from dp3d_data.datasets.fits.threedpw import ThreeDPW
from dp3d_data.datasets.fits.up3d import Up3d
from dp3d_data.datasets.fits.wldo import Wldo

_READERS = (StanfordDogs(), Smalify(), Wldo(), Animal3D(), PosedMesh(), Up3d(), Human36M(), ThreeDPW(), Neutral())
FIT_READERS: dict[str, FitReader] = {reader.name: reader for reader in _READERS}

__all__ = ["FIT_READERS", "Fit", "FitCamera", "FitFailure", "FitReader", "same_fit", "write_fits"]
