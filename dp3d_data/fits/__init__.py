"""Published model fits: one reader per layout, all of them give fits."""

from dp3d_data.fits.records import Fit, FitCamera, FitFailure, FitReader, same_fit

__all__ = ["Fit", "FitCamera", "FitFailure", "FitReader", "same_fit"]
