"""The Python API beyond the kernel: what `import fedge` offers to notebooks and scripts."""
