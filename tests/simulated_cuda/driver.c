/* In place of libcuda.so.1, which shows the program that a machine has a driver. */
int cuInit(unsigned flags) { return flags != 0; }
