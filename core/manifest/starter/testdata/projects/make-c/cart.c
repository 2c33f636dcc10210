#include "cart.h"

long total(const long *prices, int count) {
	long sum = 0;
	for (int i = 0; i < count; i++)
		sum += prices[i];
	return sum;
}

long shipping(long total) {
	if (total >= 5000)
		return 0;
	return 495;
}
