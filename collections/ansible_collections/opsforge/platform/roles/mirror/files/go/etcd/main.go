// SPDX-License-Identifier: GPL-3.0-or-later

// Command etcd is the etcd server: its own package is called "server", and a Go command takes its
// name from its package.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
