"""Click-through prediction on the Criteo 1TB click logs with DLRM-small."""
