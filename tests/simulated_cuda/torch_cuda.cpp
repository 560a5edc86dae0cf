// LibTorch's CUDA half on the simulated runtime, in place of libtorch_cuda.so. The kernel of an operator is the one for
// CPUs, put on the current stream. The shapes of its results come from a run without values, at once. A kernel holds
// addresses and not tensors, so memory that is given away too early is seen. libc10_cuda.so, with streams, events and
// the caching allocator, is the real one.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/view_native.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/library.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "runtime.h"

namespace c10::cuda::_internal {
void setHasPrimaryContext(bool (*)(DeviceIndex));
}

namespace {

using at::Tensor;
using c10::IValue;
using torch::jit::Stack;

// A device's random numbers. Each kernel has its own, from the seed and the number of such kernels since it was set.
struct Seeds final : at::CPUGeneratorImpl {
  void set_current_seed(std::uint64_t seed) override {
    at::CPUGeneratorImpl::set_current_seed(seed);
    kernels = 0;
  }
  std::uint64_t kernels = 0;
};

const at::Generator& seeds_of(c10::DeviceIndex device) {
  static auto* const all = [] {
    auto* made = new std::vector<at::Generator>;
    for (int i = 0; i < c10::cuda::device_count(); ++i) made->push_back(at::make_generator<Seeds>());
    return made;
  }();
  return (*all)[static_cast<std::size_t>(device < 0 ? c10::cuda::current_device() : device)];
}

at::Generator generator_of_a_kernel(c10::Device device) {
  at::Generator generator = seeds_of(device.index());
  const std::lock_guard lock(generator.mutex());
  auto& seeds = static_cast<Seeds&>(*generator.unsafeGetGeneratorImpl());
  return at::make_generator<at::CPUGeneratorImpl>(seeds.current_seed() + 0x9e3779b97f4a7c15U * ++seeds.kernels);
}

// Memory of the host that a kernel may read when it runs. What frees it does not wait: copy() keeps the tensor.
class PinnedMemory final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    void* const memory = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
    const std::lock_guard lock(mutex_);
    blocks_[static_cast<char*>(memory)] = bytes;
    return {memory, memory, &free, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { std::memcpy(to, from, bytes); }

  static bool has(const void* address) {
    const std::lock_guard lock(mutex_);
    const auto after = blocks_.upper_bound(const_cast<char*>(static_cast<const char*>(address)));
    return after != blocks_.begin() && address < std::prev(after)->first + std::prev(after)->second;
  }

 private:
  static void free(void* memory) {
    {
      const std::lock_guard lock(mutex_);
      blocks_.erase(static_cast<char*>(memory));
    }
    std::free(memory);
  }

  static inline std::mutex mutex_;
  static inline std::map<char*, std::size_t> blocks_;
};

struct Hooks final : at::CUDAHooksInterface {
  explicit Hooks(at::CUDAHooksArgs) {}
  void init() const override { c10::cuda::CUDACachingAllocator::init(c10::cuda::device_count()); }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasCUDA() const override { return true; }
  bool hasCUDART() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return c10::cuda::device_count(); }
  int getNumGPUs() const override { return c10::cuda::device_count(); }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex device) const override { return seeds_of(device); }
  c10::Allocator* getPinnedMemoryAllocator() const override {
    static PinnedMemory memory;
    return &memory;
  }
  bool isPinnedPtr(const void* address) const override { return PinnedMemory::has(address); }
};

// A tensor's memory without a hold on it.
struct Place {
  explicit Place(const Tensor& tensor)
      : data(tensor.const_data_ptr()),
        sizes(tensor.sizes().vec()),
        strides(tensor.strides().vec()),
        type(tensor.scalar_type()) {}

  Tensor for_kernel(bool writes) const {
    if (!data) return at::empty_strided(sizes, strides, type);
    void* const memory = simulated_memory(data);
    const Tensor tensor = at::from_blob(memory, sizes, strides, at::TensorOptions(type));
    // Between the elements of others, another kernel may write.
    if (memory != data && tensor.is_non_overlapping_and_dense()) simulated_access(memory, tensor.nbytes(), writes);
    return tensor;
  }
  Tensor read() const { return for_kernel(false); }
  Tensor written() const { return for_kernel(true); }

  const void* data;
  std::vector<std::int64_t> sizes, strides;
  at::ScalarType type;
};

// A tensor of the host for a kernel alone: ThreadSanitizer does not see LibTorch count the references to one that the
// host has as well.
Tensor own(const Tensor& tensor) {
  return Tensor(tensor.unsafeGetTensorImpl()->shallow_copy_and_detach(c10::VariableVersion(0), false));
}

void launch(c10::Device device, std::function<void()> kernel) {
  const c10::cuda::CUDAGuard guard(device);  // whose default stream is meant
  simulated_launch(c10::cuda::getCurrentCUDAStream(device.index()), [kernel = std::move(kernel)] {
    const at::NoGradGuard no_grad;
    const at::AutoDispatchBelowADInplaceOrView below;
    try {
      kernel();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "a simulated kernel threw: %s\n", error.what());
      std::_Exit(3);
    }
  });
}

void wait_for(c10::Device device) {
  c10::cuda::getCurrentCUDAStream(device.index()).synchronize();
}

const c10::DispatchKeySet kKeys(c10::DispatchKey::CUDA);

Tensor empty_strided(c10::IntArrayRef sizes, c10::IntArrayRef strides, std::optional<at::ScalarType> type,
                     std::optional<at::Layout>, std::optional<at::Device> device, std::optional<bool>) {
  at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
  const c10::cuda::OptionalCUDAGuard guard(device && device->has_index() ? device : std::nullopt);
  return Tensor(at::detail::empty_strided_generic(sizes, strides, c10::cuda::CUDACachingAllocator::get(), kKeys,
                                                  type.value_or(at::kFloat)));
}

Tensor empty(c10::IntArrayRef sizes, std::optional<at::ScalarType> type, std::optional<at::Layout>,
             std::optional<at::Device> device, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
  const c10::cuda::OptionalCUDAGuard guard(device && device->has_index() ? device : std::nullopt);
  return Tensor(at::detail::empty_generic(sizes, c10::cuda::CUDACachingAllocator::get(), kKeys,
                                          type.value_or(at::kFloat), format));
}

Tensor like(const Tensor& shape, c10::Device device) {
  return empty_strided(shape.sizes(), shape.strides(), shape.scalar_type(), {}, device, {});
}

Tensor& copy(Tensor& self, const Tensor& source, bool non_blocking) {
  const Place to(self), from(source);
  const c10::Device device = self.is_cuda() ? self.device() : source.device();
  if (source.is_cuda()) {
    launch(device, [=] { to.written().copy_(from.read()); });
  } else {
    launch(device, [to, source = own(source)] { to.written().copy_(source); });
  }
  // CUDA may wait in a copy of memory that is not pinned, whatever was asked.
  const bool asynchronous = non_blocking && PinnedMemory::has(self.is_cuda() ? from.data : to.data);
  if (!(self.is_cuda() && source.is_cuda()) && !asynchronous) wait_for(device);
  return self;
}

at::Scalar local_scalar(const Tensor& tensor) {
  wait_for(tensor.device());
  return Place(tensor).read().item();
}

// The operator for CPUs takes no generator.
std::tuple<Tensor, Tensor> native_dropout(const Tensor& input, double probability, std::optional<bool>) {
  const Tensor result = like(input, input.device());
  const Tensor mask = empty_strided(input.sizes(), input.strides(), at::kBool, {}, input.device(), {});
  launch(input.device(), [from = Place(input), to = Place(result), kept = Place(mask), probability,
                          generator = generator_of_a_kernel(input.device())] {
    Tensor keep = kept.written();
    keep.bernoulli_(1 - probability, generator);
    to.written().copy_(from.read().mul(keep).mul_(1 / (1 - probability)));
  });
  return {result, mask};
}

// The path of plain operators, in place of kernels that exist only for GPUs.
std::int64_t plain_attention(const Tensor&, const Tensor&, const Tensor&, const std::optional<Tensor>&, double, bool,
                             std::optional<double>, bool) {
  return 0;
}

bool is_tensor_list(const IValue& value) {
  return value.isList() && !value.isTensorList() && !value.toListRef().empty() &&
         (value.toListRef()[0].isTensor() || value.toListRef()[0].isNone());
}

template <class F>
void for_each_tensor(const IValue& value, F f) {
  if (value.isTensor()) f(value.toTensor());
  if (value.isTensorList()) {
    for (const Tensor& tensor : value.toTensorVector()) f(tensor);
  } else if (is_tensor_list(value)) {
    for (const IValue& element : value.toListRef()) {
      if (element.isTensor()) f(element.toTensor());
    }
  }
}

// Returns the values with f(tensor) for each tensor, and `device` for each device.
template <class F>
Stack mapped(const Stack& values, F f, c10::DeviceType device = c10::kCPU) {
  Stack result;
  for (const IValue& value : values) {
    if (value.isTensor()) {
      result.emplace_back(f(value.toTensor()));
    } else if (value.isTensorList()) {
      std::vector<Tensor> tensors;
      for (const Tensor& tensor : value.toTensorVector()) tensors.push_back(f(tensor));
      result.emplace_back(tensors);
    } else if (is_tensor_list(value)) {
      c10::List<std::optional<Tensor>> tensors;
      for (const IValue& element : value.toListRef()) {
        tensors.push_back(element.isNone() ? std::optional<Tensor>() : f(element.toTensor()));
      }
      result.emplace_back(tensors);
    } else if (value.isDevice()) {
      result.emplace_back(c10::Device(device));
    } else {
      result.push_back(value);
    }
  }
  return result;
}

bool only_tensors(const c10::OperatorHandle& op) {
  for (const c10::Argument& result : op.schema().returns()) {
    if (!result.type()->isSubtypeOf(c10::TensorType::get()) &&
        !result.type()->isSubtypeOf(c10::ListType::ofTensors())) {
      return false;
    }
  }
  return true;
}

bool is_in_place(const c10::OperatorHandle& op) {
  return op.schema().name().ends_with("_") && op.schema().returns().size() == 1 &&
         op.schema().arguments()[0].alias_info() && op.schema().arguments()[0].alias_info()->isWrite();
}

// Whether the host must have the results before it goes on: numbers, and tensors whose shape depends on values.
bool is_awaited(const c10::OperatorHandle& op, const Stack& arguments) {
  if (!only_tensors(op)) return true;
  if (!op.hasTag(at::Tag::dynamic_output_shape)) return false;
  if (op.schema().name() != "aten::index") return true;
  bool mask = false;  // an index of whole numbers has its shape
  for_each_tensor(arguments.at(1), [&](const Tensor& index) { mask |= index.scalar_type() == at::kBool; });
  return mask;
}

// An operator on the device. It keeps the places of its tensors: they are replaced by empty shells.
class Kernel {
 public:
  Kernel(const c10::OperatorHandle& op, const Stack& arguments) : op_(op) {
    for (std::size_t i = 0; i < arguments.size(); ++i) {
      const c10::AliasInfo* const alias = op.schema().arguments()[i].alias_info();
      const Stack shell = mapped({arguments[i]}, [&](const Tensor& tensor) {
        if (!tensor.defined()) return tensor;
        if (!tensor.is_cuda()) return own(tensor);
        const Tensor shell = at::empty({0});
        places_.emplace(shell.unsafeGetTensorImpl(), Operand{Place(tensor), alias && alias->isWrite()});
        return shell;
      });
      shells_.push_back(shell[0]);
    }
  }

  void draw_from(const at::Generator& generator) {
    const auto& formal = op_.schema().arguments();
    for (std::size_t i = 0; i < formal.size(); ++i) {
      if (formal[i].name() == "generator") shells_[i] = IValue(generator);
    }
  }

  void move(const Place& from, const Place& to) {
    for (auto& [shell, operand] : places_) {
      if (operand.place.data == from.data && operand.place.sizes == from.sizes) operand.place = to;
    }
  }

  std::vector<Tensor> tensors_of_run() const {
    std::vector<Tensor> tensors;
    for (const IValue& value : run()) for_each_tensor(value, [&](const Tensor& tensor) { tensors.push_back(tensor); });
    return tensors;
  }

  Stack run() const {
    Stack real = mapped(shells_, [this](const Tensor& tensor) {
      const auto found = tensor.defined() ? places_.find(tensor.unsafeGetTensorImpl()) : places_.end();
      return found == places_.end() ? tensor : found->second.place.for_kernel(found->second.is_written);
    });
    const Stack held = real;
    op_.callBoxed(&real);
    return mapped(real, [](const Tensor& tensor) { return tensor; });  // they may refer to those in `held`
  }

 private:
  struct Operand {
    Place place;
    bool is_written;
  };

  c10::OperatorHandle op_;
  Stack shells_;
  std::map<c10::TensorImpl*, Operand> places_;  // by shell
};

Stack run_at_once(const Kernel& kernel, c10::Device device) {
  Stack results;
  launch(device, [&] { results = kernel.run(); });
  wait_for(device);
  return mapped(results, [&](const Tensor& on_host) {
    Tensor result = like(on_host, device);
    copy(result, on_host, /*non_blocking=*/false);
    return result;
  });
}

Stack run_later(const c10::OperatorHandle& op, const Stack& arguments, Kernel kernel, c10::Device device) {
  if (op.schema().returns().empty() || is_in_place(op)) {
    launch(device, [kernel = std::move(kernel)] { kernel.run(); });
    return op.schema().returns().empty() ? Stack() : Stack{arguments[0]};
  }
  const bool meta = op.hasKernelForDispatchKey(c10::DispatchKey::Meta);
  const c10::DeviceType without_values = meta ? c10::kMeta : c10::kCPU;
  std::map<c10::TensorImpl*, Tensor> empty_of;
  std::map<c10::TensorImpl*, Tensor> of_empty;  // the arguments that they stand for
  std::map<c10::StorageImpl*, Tensor> of_storage;
  Stack shapes = mapped(
      arguments,
      [&](const Tensor& tensor) {
        if (!tensor.defined() || !tensor.is_cuda()) return tensor;
        Tensor& empty = empty_of[tensor.unsafeGetTensorImpl()];
        if (!empty.defined()) {
          empty = at::empty_strided(tensor.sizes(), tensor.strides(), tensor.options().device(without_values));
          if (!meta && !empty.is_floating_point()) empty.zero_();  // valid as an index
          of_empty[empty.unsafeGetTensorImpl()] = tensor;
          of_storage[empty.storage().unsafeGetStorageImpl()] = tensor;
        }
        return empty;
      },
      without_values);
  const at::AutoDispatchBelowADInplaceOrView below;
  op.callBoxed(&shapes);

  std::vector<std::pair<std::size_t, Place>> made;  // which results are new, and where they go
  std::size_t index = 0;
  Stack results = mapped(shapes, [&](const Tensor& tensor) -> Tensor {
    const std::size_t i = index++;
    if (!tensor.defined()) return tensor;
    if (const auto found = of_empty.find(tensor.unsafeGetTensorImpl()); found != of_empty.end()) {
      const Tensor& argument = found->second;
      if (argument.sizes() == tensor.sizes()) return argument;
      const Place before(argument);  // an argument named out may begin empty
      argument.unsafeGetTensorImpl()->shallow_copy_from(like(tensor, device).getIntrusivePtr());
      kernel.move(before, Place(argument));
      return argument;
    }
    if (const auto found = of_storage.find(tensor.storage().unsafeGetStorageImpl()); found != of_storage.end()) {
      const Tensor& viewed = found->second;
      return at::native::as_strided_tensorimpl(viewed, tensor.sizes(), tensor.strides(),
                                               viewed.storage_offset() + tensor.storage_offset());
    }
    Tensor result = like(tensor, device);
    made.emplace_back(i, Place(result));
    return result;
  });
  launch(device, [kernel = std::move(kernel), made] {
    const std::vector<Tensor> real = kernel.tensors_of_run();
    for (const auto& [i, place] : made) place.written().copy_(real.at(i));
  });
  return results;
}

void any_operator(const c10::OperatorHandle& op, Stack* stack) {
  const auto count = static_cast<std::ptrdiff_t>(op.schema().arguments().size());
  const Stack arguments(stack->end() - count, stack->end());
  stack->erase(stack->end() - count, stack->end());
  c10::Device device(c10::kCUDA, c10::cuda::current_device());
  for (const IValue& value : arguments) {
    for_each_tensor(value, [&](const Tensor& tensor) {
      if (tensor.defined() && tensor.is_cuda()) device = tensor.device();
    });
  }
  Kernel kernel(op, arguments);
  if (op.hasTag(at::Tag::nondeterministic_seeded)) kernel.draw_from(generator_of_a_kernel(device));
  const Stack results =
      is_awaited(op, arguments) ? run_at_once(kernel, device) : run_later(op, arguments, std::move(kernel), device);
  stack->insert(stack->end(), results.begin(), results.end());
}

TORCH_LIBRARY_IMPL(_, CUDA, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&any_operator>());
}
TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("empty.memory_format", empty);
  library.impl("empty_strided", empty_strided);
  library.impl("as_strided", at::native::as_strided_tensorimpl);
  library.impl("view", at::native::view);
  library.impl("_reshape_alias", at::native::_reshape_alias);
  library.impl("copy_", copy);
  library.impl("_local_scalar_dense", local_scalar);
  library.impl("native_dropout", native_dropout);
  library.impl("_fused_sdp_choice", plain_attention);
  // Otherwise LibTorch would take its slowest convolution, for a CUDA without cuDNN.
  library.impl("convolution", torch::CppFunction::makeFromBoxedFunction<&any_operator>());
  library.impl("convolution_backward", torch::CppFunction::makeFromBoxedFunction<&any_operator>());
}

const bool kHasContext = [] {
  c10::cuda::_internal::setHasPrimaryContext([](c10::DeviceIndex) { return true; });
  return true;
}();

}  // namespace

namespace at {
namespace {
using SimulatedHooks = ::Hooks;
C10_REGISTER_CLASS(CUDAHooksRegistry, CUDAHooks, SimulatedHooks)
}  // namespace
}  // namespace at
