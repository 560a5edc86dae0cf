add_executable(tokenize_texts ${PROJECT_SOURCE_DIR}/tests/text/tokenize_texts.cpp)
target_link_libraries(tokenize_texts PRIVATE pb_text)
pb_script_test(parity.text parity 300 tokenizer_parity.py)
set_tests_properties(parity.text PROPERTIES SKIP_RETURN_CODE 77)
