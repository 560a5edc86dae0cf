// Version of the HDF5 library.
#pragma once

#include <string>

namespace pixelbert::shards {

std::string hdf5_version();  // "1.10.8", of the library in this process

}  // namespace pixelbert::shards
