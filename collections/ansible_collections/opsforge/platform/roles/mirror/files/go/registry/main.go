// SPDX-License-Identifier: GPL-3.0-or-later

// Command registry is the CNCF Distribution registry that keeps its images in a directory: the full
// set of storage drivers links the client libraries of every cloud.
package main

import (
	"os"

	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

func main() {
	if err := registry.RootCmd.Execute(); err != nil {
		os.Exit(1)
	}
}
