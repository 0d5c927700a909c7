"""The environment for NumPy with one thread; set it before NumPy is loaded, here or in a child.

Many processes with many BLAS threads each would slow each other down, and with another number of threads the
same sum may differ in its last bit.
"""

ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
