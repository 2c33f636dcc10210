package remote

import (
	"time"

	"github.com/seed-b96de936/troop/core"
)

// Hurry shortens how long Wait bears with what.
func (c *Client) Hurry(tell time.Duration, keys ...time.Duration) {
	c.patience.tell, c.patience.keys = tell, keys
}

// Obstacle says why a connection failed.
func (c *Client) Obstacle(h core.Host, err error) string { return c.obstacle(h, err).String() }
