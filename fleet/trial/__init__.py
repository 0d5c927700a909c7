"""`fedge try`: does it pay to let these devices learn together, and if not, why?"""
