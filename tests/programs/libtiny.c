// The library behind plt.c: a function so small that the stub which leads to it shows.
unsigned long tiny(unsigned long x) { return x * 31 + 7; }
