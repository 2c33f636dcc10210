<?php

require_once __DIR__ . '/../src/Cart.php';

use PHPUnit\Framework\TestCase;

final class CartTest extends TestCase
{
    public function testAddsUp(): void
    {
        $this->assertSame(349, Cart::total([250, 99]));
    }
}
