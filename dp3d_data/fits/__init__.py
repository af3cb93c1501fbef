"""Published model fits: one reader per layout, all of them give fits."""

from dp3d_data.fits.animal3d import Animal3D
from dp3d_data.fits.human36m import Human36M
from dp3d_data.fits.neutral import Neutral, write_fits
from dp3d_data.fits.posed_mesh import PosedMesh
from dp3d_data.fits.records import Fit, FitCamera, FitFailure, FitReader, same_fit
from dp3d_data.fits.smalify import Smalify
from dp3d_data.fits.stanford_dogs import StanfordDogs
from dp3d_data.fits.threedpw import ThreeDPW
from dp3d_data.fits.up3d import Up3d
from dp3d_data.fits.wldo import Wldo

_READERS = (StanfordDogs(), Smalify(), Wldo(), Animal3D(), PosedMesh(), Up3d(), Human36M(), ThreeDPW(), Neutral())
FIT_READERS: dict[str, FitReader] = {reader.name: reader for reader in _READERS}

__all__ = ["FIT_READERS", "Fit", "FitCamera", "FitFailure", "FitReader", "same_fit", "write_fits"]
