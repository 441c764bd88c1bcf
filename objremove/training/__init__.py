"""Training: the complete recipes of the embedded networks, from photos in tar files to the safetensors that ship.

`objremove train` is the face of this room. Nothing outside it needs Lightning; the extra `train` installs that.
Recipes: Suvorov et al., "Resolution-robust Large Mask Inpainting with Fourier Convolutions" (WACV 2022) for the inpainter,
DeepLabV3 (Chen et al., 2017) with class-balanced sampling and copy-paste (Ghiasi et al., CVPR 2021) for the segmenter.
"""
