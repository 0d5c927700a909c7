"""The environment in which NumPy computes with one thread; to be set before it is loaded, here or in a child.

Many processes with many BLAS threads each would only wait for each other, and the same sum over another
number of threads may differ in its last bit.
"""

ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
