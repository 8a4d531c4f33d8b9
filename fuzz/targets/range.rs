//! The fuzz target `range`; its body is in the library.
#![cfg_attr(fuzzing, no_main)]

holdfast_fuzz::target!(range);
