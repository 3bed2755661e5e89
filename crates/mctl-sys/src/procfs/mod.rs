//! Readers for the text files of `/proc`: bytes in, typed values out, nothing dropped.
