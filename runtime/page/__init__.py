"""What a page is drawn with: plots as SVG for any browser, light and dark, and block matching to compare networks with."""
