"""What data sets of small labelled images share: raw formats, stored form, writing."""
