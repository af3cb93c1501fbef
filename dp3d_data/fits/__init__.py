"""Published model fits: one reader per layout, all of them give fits."""

from dp3d_data.fits.human36m import Human36M
from dp3d_data.fits.neutral import Neutral, write_fits
from dp3d_data.fits.records import Fit, FitCamera, FitFailure, FitReader, same_fit
from dp3d_data.fits.stanford_dogs import StanfordDogs
from dp3d_data.fits.threedpw import ThreeDPW
from dp3d_data.fits.up3d import Up3d

FIT_READERS: dict[str, FitReader] = {reader.name: reader for reader in (StanfordDogs(), Up3d(), Human36M(), ThreeDPW(), Neutral())}

__all__ = ["FIT_READERS", "Fit", "FitCamera", "FitFailure", "FitReader", "same_fit", "write_fits"]
