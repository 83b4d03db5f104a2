/* What block.cpp, runtime.cpp and gemm.cpp share. */
#ifndef MFRGN_TESTS_GPU_RUNTIME_H
#define MFRGN_TESTS_GPU_RUNTIME_H

#include <string>

/* The words for the error that is reported next. */
void mfc_emulate_say(const std::string &text);

#endif
