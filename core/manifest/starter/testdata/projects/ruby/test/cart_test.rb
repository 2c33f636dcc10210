# frozen_string_literal: true

require "minitest/autorun"
require "cart"

class CartTest < Minitest::Test
  def test_adds_up
    assert_equal 349, Cart.new([250, 99]).total
  end
end
