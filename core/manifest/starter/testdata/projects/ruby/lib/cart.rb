# frozen_string_literal: true

# A cart of prices in cents.
class Cart
  def initialize(prices)
    @prices = prices
  end

  def total
    @prices.sum
  end
end
