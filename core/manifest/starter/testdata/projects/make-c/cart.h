long total(const long *prices, int count);
long shipping(long total);
