/** Adds up the prices of a cart, in cents. */
export const total = (prices) => prices.reduce((sum, price) => sum + price, 0);

export const shipping = (total) => {
  if (total >= 5000) {
    return 0;
  }
  return 495;
};
