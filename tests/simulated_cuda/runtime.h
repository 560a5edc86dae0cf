// What the simulated NCCL and LibTorch's simulated CUDA half need of the simulated runtime.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>

// Puts work of the host on a stream, as the launch of a kernel would.
void simulated_launch(cudaStream_t stream, std::function<void()> kernel);

// Returns where a kernel finds memory of the device; an address of the host stays what it is.
void* simulated_memory(const void* address);

// Tells ThreadSanitizer, where the tests run under it, what code without its instruments does to such memory.
void simulated_access(void* memory, std::size_t bytes, bool writes);

// Returns a number of the environment, or `otherwise`.
long simulated_setting(const char* name, long otherwise);
