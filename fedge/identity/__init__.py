"""Who somebody is: keys, signatures, tokens, bundles, and what is asked of the registrar."""
