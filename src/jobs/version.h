// Version and commit of this build.
#pragma once

namespace pixelbert {

const char* version();     // "0.1.0"
const char* git_commit();  // of the source that was built, "-dirty" when it had changes; "unknown" outside git

}  // namespace pixelbert
