#include <assert.h>
#include "../cart.h"

static void test_adds_up(void) {
	const long prices[] = {250, 99};
	assert(total(prices, 2) == 349);
}

int main(void) {
	test_adds_up();
	return 0;
}
