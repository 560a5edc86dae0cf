#include "jobs/version.h"

#include "commit.h"

namespace pixelbert {

// Both macros come from src/CMakeLists.txt.
const char* version() {
  return PIXELBERT_VERSION;
}
const char* git_commit() {
  return PIXELBERT_COMMIT;
}

}  // namespace pixelbert
