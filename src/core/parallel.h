// at::parallel_for, for files that pb_parallel() in src/CMakeLists.txt compiles with OpenMP. In others it runs all on
// one thread, and the operators inside it, too.
#pragma once

#include <ATen/Parallel.h>

#if defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__) && !defined(_OPENMP)
#error "at::parallel_for would use a single thread: name this file in a pb_parallel() of src/CMakeLists.txt"
#endif
