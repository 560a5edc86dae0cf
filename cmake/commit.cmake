# Run at each build (src/CMakeLists.txt): writes the commit into FILE, which stays as it is unless the commit has changed.
execute_process(COMMAND git describe --always --dirty --exclude=* WORKING_DIRECTORY ${SOURCE}
  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT commit)
  set(commit unknown)
endif()
file(CONFIGURE OUTPUT ${FILE} CONTENT "#define PIXELBERT_COMMIT \"${commit}\"\n")
