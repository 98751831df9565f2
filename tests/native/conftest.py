"""`make test-native` points here to a build of the compiled scan with sanitizers, in place of the installed one."""

import importlib.util
import os
import sys

if path := os.environ.get("MOTHERLODE_SANITIZED_NATIVE"):
    spec = importlib.util.spec_from_file_location("pipeline.mining.backends.native._native", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[spec.name] = module
