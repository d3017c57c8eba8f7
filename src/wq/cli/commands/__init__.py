"""One verb, one small file, each with `options(parser)`, `run(args) -> exit status`, HELP and EXAMPLES."""
