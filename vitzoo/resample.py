"""Where these functions stood in 0.1; they are in `vitzoo.model.resample`."""

from vitzoo.model.resample import PatchResample, resample_patch_kernel, resample_table

__all__ = ["PatchResample", "resample_patch_kernel", "resample_table"]
