// For files that call at::parallel_for. Without OpenMP it runs everything on one thread, including the operators
// inside.
#pragma once

#if defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__) && !defined(_OPENMP)
#error "at::parallel_for would use a single thread: name this file in a pb_parallel() of src/CMakeLists.txt"
#endif
